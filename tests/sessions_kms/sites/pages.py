"""Pages that use the session at every point of a request, sync and async."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"name={request.session.get('name')}")


def write(request: HttpRequest) -> HttpResponse:
    request.session["name"] = "new"
    return HttpResponse("written")


def cycle(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    return HttpResponse("cycled")


def flush(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("flushed")


def anonymous(request: HttpRequest) -> HttpResponse:
    return HttpResponse("anonymous")


def raise_error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("not the store's fault")


def template(request: HttpRequest, name: str) -> HttpResponse:
    return render(request, f"{name}.html")


def defer(request: HttpRequest, name: str) -> HttpResponseBase:
    return TemplateResponse(request, f"{name}.html")


async def async_read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"name={await request.session.aget('name')}")


async def async_write(request: HttpRequest) -> HttpResponse:
    await request.session.aset("name", "new")
    return HttpResponse("written")


async def thread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(threading.get_ident()))


def cookies(request: HttpRequest) -> JsonResponse:
    """Tell all that can be read of the request's cookies."""
    read = [request.COOKIES, request.META.get("HTTP_COOKIE"), request.headers.get("Cookie")]
    scope = getattr(request, "scope", {"headers": []})
    return JsonResponse([*read, [str(pair) for pair in scope["headers"]]], safe=False)


def _chunks(session: Any) -> Iterator[str]:
    yield f"name={session.get('name')}"


async def _async_chunks(session: Any) -> AsyncIterator[str]:
    yield f"name={await session.aget('name')}"


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_chunks(request.session))


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_async_chunks(request.session))


def read_then_stream(request: HttpRequest) -> StreamingHttpResponse:
    request.session.get("name")
    return StreamingHttpResponse(_chunks(request.session))


async def async_read_then_stream(request: HttpRequest) -> StreamingHttpResponse:
    await request.session.aget("name")
    return StreamingHttpResponse(_async_chunks(request.session))


urlpatterns = [
    path("read/", read),
    path("write/", write),
    path("cycle/", cycle),
    path("flush/", flush),
    path("cookies/", cookies),
    path("anonymous/", anonymous),
    path("broken/", raise_error),
    path("template/<name>/", template),
    path("deferred/<name>/", defer),
    path("async-read/", async_read),
    path("async-write/", async_write),
    path("thread/", thread),
    path("stream/", stream),
    path("async-stream/", async_stream),
    path("read-then-stream/", read_then_stream),
    path("async-read-then-stream/", async_read_then_stream),
]
