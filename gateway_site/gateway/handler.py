"""The ASGI application: Django's own, which forwards what the gateway's view admits.

A call of an upstream passes through Django's whole middleware like any request, but its
body stays in the ASGI channel. The middleware's thread and database connection are given
back before the upstream is called: an open stream holds neither.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from gateway_site.gateway import cookies, paths, problems, proxy, views
from gateway_site.gateway.body import Receive
from gateway_site.gateway.headers import Headers
from gateway_site.gateway.proxy import Send
from gateway_site.gateway.views import Admitted

ADMISSIONS = 32  # requests at once
# The middleware sees no body. Without these it does not look for one; a CSRF token is then
# read from its header only.
ABOUT_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding"})


class GatewayHandler(ASGIHandler):
    """Django's handler, and the proxy under `/gateway/`."""

    def __init__(self) -> None:
        super().__init__()
        # In one thread from end to end: Django's own middleware, called asynchronously, would
        # change threads twice for each of its layers, which costs more than all they do.
        self.admission = BaseHandler()
        self.admission.load_middleware()
        # Threads that stay: the event loop would wait for the end of one made for each request.
        self._threads = ThreadPoolExecutor(ADMISSIONS, thread_name_prefix="gateway-admission")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _is_ours(scope):
            await self._page(scope, receive, send)
            return
        in_thread = sync_to_async(self._response, thread_sensitive=False, executor=self._threads)
        response = await in_thread(scope)
        if isinstance(response, Admitted):
            problem = await proxy.forward(response.call, receive, send, _header_list(response))
            if problem is None:
                return
            refusal = problem.response()
            problems.carry(response, refusal)
            await cookies.renew(response.call.request, refusal)
            response = refusal
        await self.send_response(problems.replaced(response), send)

    async def _page(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except RequestDataTooBig:
            await self.send_response(HttpResponse("413 Payload too large", status=413), send)

    async def read_body(self, receive: Receive) -> Any:
        """Read the body of a request for a page, no more of it than Django would parse.

        Django sets no limit here, before anything is known of the request, and writes the body
        to a file. No page takes files. Raises RequestDataTooBig.
        """
        return await super().read_body(_limited(receive, settings.DATA_UPLOAD_MAX_MEMORY_SIZE))

    def _response(self, scope: Any) -> HttpResponseBase:
        """Return what the middleware and the view answer, everything of theirs closed."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        headers = [pair for pair in scope["headers"] if pair[0] not in ABOUT_BODY]
        without_body = {**scope, "headers": headers, views.SCOPE: scope}
        request, refusal = self.create_request(without_body, io.BytesIO())
        response = refusal if request is None else self._admitted(request)
        if response is None:
            raise AssertionError("Django made neither a request nor a refusal.")
        response.close()
        return response

    def _admitted(self, request: ASGIRequest) -> HttpResponseBase:
        response: HttpResponseBase = self.admission.get_response(request)
        return response


def _limited(receive: Receive, limit: int | None) -> Receive:
    size = 0

    async def receiving() -> Mapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if limit is not None and size > limit:
            raise RequestDataTooBig
        return message

    return receiving


@cache
def gateway() -> GatewayHandler:
    """Return this process's handler."""
    return GatewayHandler()


def _is_ours(scope: Any) -> bool:
    """Judge by the decoded path: a path that is only spelt otherwise is the gateway's to refuse."""
    prefix = get_script_prefix(scope).rstrip("/")
    found: bool = scope["path"].removeprefix(prefix).startswith(paths.ROOT)
    return found


def _header_list(response: Admitted) -> Headers:
    """Return what the middleware adds to an answer; the admitted response has no content."""
    pairs = [
        (name.lower(), value)
        for name, value in response.items()
        if name.lower() not in {"content-length", "content-type"}
    ]
    cookies = [("set-cookie", cookie.OutputString()) for cookie in response.cookies.values()]
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs + cookies]
