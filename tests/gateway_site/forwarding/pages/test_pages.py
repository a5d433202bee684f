"""What a page leaves behind."""

import io

import pytest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from pytest_django import Settings

from gateway_site import urls
from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.pages.pages import MiddlewareChain, MiddlewareRun
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock


@csrf_exempt
def read_body_view(request: HttpRequest) -> HttpResponse:
    assert len(request.body) > len(request.POST["a"])
    return HttpResponse(len(request.POST["a"]))


urlpatterns = [path("reading", read_body_view), path("", include(urls))]


@pytest.mark.django_db
def test_answered_page_keeps_no_body_and_no_reference_cycle(settings: Settings) -> None:
    """Django's templates keep requests until the collector looks, which does not count bytes."""
    settings.ROOT_URLCONF = __name__
    install(fake_stack(FakeClock()).services)
    seen: list[HttpRequest] = []
    body = b"a=" + b"b" * 100_000
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": "/reading", "headers": headers}

    class Noting(MiddlewareChain):
        def get_response(self, request: HttpRequest) -> HttpResponseBase:
            seen.append(request)
            return super().get_response(request)

    response = MiddlewareRun(GatewayHandler(), Noting(), scope, io.BytesIO(body)).run_in_thread()
    assert isinstance(response, HttpResponse)
    assert response.content == b"100000"
    assert not {"_body", "_post", "_files", "user", "auser", "_messages"} & vars(seen[0]).keys()
