"""The ASGI application: routes each request to the health checks, a call, or a page.

A call of an upstream runs step by step in the event loop (`calls.calls`), and its body stays in the
ASGI channel. Pages run in threads (`pages.pages`).
"""

import asyncio
import io
import logging
from functools import cache
from http import HTTPStatus
from typing import Any

from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler
from django.urls import get_resolver

from gateway_site.audit import trail as audit
from gateway_site.audit.call import AuditedCall
from gateway_site.edge.client import Client, ClientGone, Receive, Send
from gateway_site.edge.reports import Tally
from gateway_site.forwarding.calls.calls import Calls
from gateway_site.forwarding.error_pages import body_rejection
from gateway_site.forwarding.pages.body import PageBody
from gateway_site.forwarding.pages.pages import Pages, path_of
from gateway_site.forwarding.request import BODY_HEADERS, GatewayRequest
from gateway_site.forwarding.thread_pools import UNAVAILABLE
from gateway_site.health.middleware import PATHS as HEALTH_PATHS
from gateway_site.rules import problems, url_rules

logger = logging.getLogger(__name__)

_unaudited = Tally(logger, "%d calls were answered 503: the audit log cannot be written.")


class GatewayHandler(ASGIHandler):
    """Django's handler, and the proxy under `/gateway/`."""

    request_class = GatewayRequest

    def __init__(self) -> None:
        super().__init__()
        self._is_audited = audit.is_configured()
        self._pages = Pages(self)
        self._calls = Calls(self, self._pages.error_pages)
        # Imports all views and the error handler now, while files can be opened.
        get_resolver().resolve_error_handler(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)  # raises ValueError
            return
        if (path := path_of(scope)) in HEALTH_PATHS:
            await self._serve_health_check(scope, receive, send)
            return
        client = Client(scope, receive)
        try:
            # By the decoded path: one that is only spelled differently is the gateway's to reject.
            if not path.startswith(url_rules.ROOT):
                await self._pages.serve(scope, client, send)
            elif (self._is_audited or audit.audit_event.receivers) and path != url_rules.ROOT:
                await self._serve_audited_call(scope, client, send)
            else:
                await self._calls.serve(scope, client, send)
        except (ClientGone, RequestAborted):
            pass

    async def _serve_audited_call(self, scope: Any, client: Client, send: Send) -> None:
        """Forward a call and record it; reject it if there is no room for its event."""
        call = AuditedCall(scope, send)
        try:
            if call.is_possible:
                await self._calls.serve(scope, client, call.send)
            else:
                _unaudited.add()
                problem = problems.unavailable("audit_unavailable", UNAVAILABLE).response()
                response = await self._pages.error_pages.choose(scope, client, problem)
                await self.send_response(response, call.send)
        except (ClientGone, RequestAborted, asyncio.CancelledError):
            call.abandon()
            raise
        finally:
            call.end()

    async def _serve_health_check(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve a health check without waiting for a permit: busy must not look broken.

        Headers about a body are dropped, since nothing here reads one.
        """
        headers = [pair for pair in scope.get("headers", ()) if pair[0].lower() not in BODY_HEADERS]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        except (RequestDataTooBig, TimeoutError) as error:
            await self.send_response(body_rejection(None, error), send)

    async def read_body(self, receive: Receive) -> io.BytesIO:
        """Read the body of a health check, as large as any page's; Django calls this.

        Raises RequestDataTooBig, TimeoutError and RequestAborted.
        """
        unknown: dict[str, Any] = {"headers": []}
        return await PageBody(unknown, Client(unknown, receive), None, _is_nobody_staff).read()


async def _is_nobody_staff() -> bool:
    return False


@cache
def gateway() -> GatewayHandler:
    """Return this process's handler."""
    return GatewayHandler()
