"""What people and programs get if a session has no room: the page or problem `session_full`.

A session fits into one item of DynamoDB. Providers and MCP servers decide how long their tokens
are, so a few of them can fill it. Nothing that was stored is lost: the save is rejected before it
is sent, and the page and the log name the largest connection, which the person can disconnect.
"""

import logging
import sys
from http import HTTPStatus
from typing import Any

from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from gateway_site.edge import languages
from gateway_site.edge.middleware import UPSTREAMS
from gateway_site.forwarding.error_pages import label_of
from gateway_site.rules import problems
from oauth import SessionFull, get_request_id, largest_connection
from oauth.mcp.servers import find_server
from sessions_kms import SessionTooLarge
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware

logger = logging.getLogger(__name__)

MARK = "_gateway_session_full"  # attribute of a request
ERRORS = (SessionFull, SessionTooLarge)


class SessionFullMiddleware(SyncAndAsyncMiddleware):
    """Replaces the 500 of a session that is too large.

    The session is saved by Django's middleware and by views, so the error is found by Django's
    report of it. The 500 has kept the middleware inside from saving the session again.
    """

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and replace the response if the session is full."""
        response: HttpResponseBase = await self.await_response(request)
        if response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR or not hasattr(request, MARK):
            return response
        replacement = _response(request)
        replacement.cookies.update(response.cookies)
        return replacement


@receiver(got_request_exception, dispatch_uid="gateway_site.session_full")
def _mark(request: HttpRequest | None = None, **_: Any) -> None:
    if request is not None and isinstance(sys.exc_info()[1], ERRORS):
        setattr(request, MARK, True)


def _response(request: HttpRequest) -> HttpResponse:
    session = request.session
    # The stored one: what this request put into its own was not connected.
    largest = largest_connection(type(session)(session.session_key))
    logger.warning(
        "A session is full, request %s: its largest connection is %s.",
        get_request_id(request),
        largest,
    )
    if request.path_info.startswith(UPSTREAMS):
        return problems.session_full(largest).response()
    with languages.of_request(request):
        return _page(request, largest)


def _page(request: HttpRequest, largest: str | None) -> HttpResponse:
    server = find_server(largest) if largest else None
    context = {
        "largest": label_of(largest) if largest else None,
        "disconnect_url": reverse("oauth_disconnect", args=[server.name]) if server else None,
        "code": problems.SESSION_FULL,
        "request_id": get_request_id(request),
    }
    response = render(request, "session_full.html", context, status=HTTPStatus.CONFLICT)
    response.headers["Cache-Control"] = "no-store"
    return response


class _IsNoFault(logging.Filter):
    """Drops Django's report, with a traceback, of an error that is answered here."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ERRORS))


logging.getLogger("django.request").addFilter(_IsNoFault())
