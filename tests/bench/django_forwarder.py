"""A minimal Django application that authenticates the caller before it forwards: no rule, no token.

It reads the session and the user with Django's own middleware, in a thread of a pool, and does
nothing else. The difference to the gateway is the cost of the gateway's own work.

python -m tests.bench.django_forwarder UPSTREAM
"""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from asgiref.sync import sync_to_async

from tests.support.production.person import signed_in_cookie  # first: it sets Django up

# isort: split
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse

from tests.bench.forwarder import Forwarder
from tests.support.production.uvicorn_server import serve

THREADS = 32


class DjangoForwarder(Forwarder):
    """Forwards the calls of signed-in people."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._threads = ThreadPoolExecutor(THREADS)
        self._django = SessionMiddleware(AuthenticationMiddleware(_response))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        run = sync_to_async(self._run_middleware, thread_sensitive=False, executor=self._threads)
        response = await run(scope)
        if response.status_code == 204:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": response.status_code, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _run_middleware(self, scope: Any) -> HttpResponse:
        response = self._django(ASGIRequest(scope, io.BytesIO()))
        close_old_connections()
        return cast("HttpResponse", response)


def _response(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204 if request.user.is_authenticated else 401)


if __name__ == "__main__":
    serve(DjangoForwarder(sys.argv[1]), cookie=signed_in_cookie(), path="")
