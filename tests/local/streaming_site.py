"""A site of one module for the tests of `runserver`: settings, views and URLs."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

SECRET_KEY = "tests-only"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["gateway_site", "django.contrib.staticfiles"]
ROOT_URLCONF = __name__
ASGI_APPLICATION = f"{__name__}.application"
STATIC_URL = "static/"
STATICFILES_DIRS = [Path(__file__).parent]
GATEWAY_LOCAL = True
MISSING_VARIABLES: list[str] = []
VERSION = "one"


async def version(request: HttpRequest) -> HttpResponse:
    return HttpResponse(VERSION)


async def events(request: HttpRequest) -> StreamingHttpResponse:
    """Send one event, then wait forever; write a file when the generator is closed."""

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.Event().wait()
        finally:
            Path(os.environ["CLOSED"]).touch()  # noqa: ASYNC240 -- one empty file

    return StreamingHttpResponse(stream(), content_type="text/event-stream")


@cache
def handler() -> ASGIHandler:
    return get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    await handler()(scope, receive, send)


urlpatterns = [path("version", version), path("events", events)]
