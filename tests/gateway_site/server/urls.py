"""Pages, and a query for the user of a call, that wait until a test lets them go on."""

import threading
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from gateway_site.forwarding.thread_pools import WAITS_FOR_DOCUMENT
from oauth.clients.endpoints import api
from oauth.clients.endpoints.api import api_endpoint

reached: list[str] = []
arrivals: list[float] = []
go_on = threading.Event()


def page(request: HttpRequest) -> HttpResponse:
    reached.append(request.path)
    arrivals.append(getattr(request, api.ARRIVED_ATTRIBUTE))
    assert go_on.wait(20)
    return HttpResponse("page of " + str(len(request.body)))


def query(request: HttpRequest) -> None:
    """Find nobody, slowly."""
    reached.append(request.path)
    assert go_on.wait(20)


def sign_in(request: HttpRequest, provider_id: str) -> HttpResponse:
    return page(request)


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError


def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def content() -> AsyncIterator[bytes]:
        yield b"one, "
        yield b"two"

    return StreamingHttpResponse(content())


def consent(request: HttpRequest) -> HttpResponse:
    return page(request)


setattr(consent, WAITS_FOR_DOCUMENT, lambda method, query, site: query == "document")

urlpatterns = [
    path("page", page),
    path("streamed", stream),
    path("oauth/token", api_endpoint("GET")(page), name="oauth_clients_token"),
    path("oauth/failing", fail),
    path("oauth/authorize", consent, name="oauth_clients_authorize"),
    path("sign-in/<str:provider_id>", sign_in),
    path("login", page, name="account_login"),
]
