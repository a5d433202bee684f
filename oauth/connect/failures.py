"""Responses to a connection that did not work: a page with the reason, or a redirect."""

import logging
from http import HTTPStatus
from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.translation import gettext as _

from oauth.codes import NEEDS_OPERATOR, Code, remedy
from oauth.exceptions import IssuerNotAccepted, OAuthError, ProviderUnavailable
from oauth.mcp.servers import McpServer
from oauth.metrics import count_connection
from oauth.sign_in.failures import get_request_id, sign_in_url

logger = logging.getLogger(__name__)

RETRY_AFTER = 30  # seconds


def failure_page(
    request: HttpRequest, server: McpServer, error: OAuthError, next_url: str | None
) -> HttpResponse:
    """Return the page with the code of an error, and log it."""
    code = getattr(error, "code", Code.PROVIDER_REFUSED)
    setting = error.setting if isinstance(error, IssuerNotAccepted) else None
    count_connection(server.name, code)
    logger.warning(
        "Connecting %s did not work (%s), request %s: %s %s",
        server.name,
        code,
        get_request_id(request),
        error,
        f"If it is the right one, set {setting}" if setting else _remedy(server, code),
    )
    needs_operator = code in NEEDS_OPERATOR
    is_temporary = isinstance(error, ProviderUnavailable) and not needs_operator
    context = {
        "server": server,
        "needs_operator": needs_operator,
        "is_busy": code == Code.BUSY,  # The server is not to blame.
        "is_temporary": is_temporary,
        "setting": setting,
        "code": code,
        "request_id": get_request_id(request),
        "next_url": next_url,
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if is_temporary else HTTPStatus.BAD_REQUEST
    response = render(request, "oauth/connect_failed.html", context, status=status)
    if is_temporary:
        response["Retry-After"] = str(RETRY_AFTER)
    return private(response)


def _remedy(server: McpServer, code: Code) -> str:
    prefix = f"UPSTREAM_{server.name.upper()}_"
    return remedy(code).replace("OAUTH_<NAME>_", prefix).replace("UPSTREAM_<NAME>_", prefix)


def stray_callback(request: HttpRequest, server: McpServer) -> HttpResponse:
    """Return a redirect for a callback without a valid state; nothing was connected."""
    count_connection(server.name, Code.STATE_UNKNOWN)
    if not request.user.is_authenticated:
        return HttpResponseRedirect(sign_in_url(None))
    logger.info(
        "Connecting %s did not work (%s), request %s.",
        server.name,
        Code.STATE_UNKNOWN,
        get_request_id(request),
    )
    text = _("That took too long, or was begun elsewhere: nothing was connected. Please try again.")
    messages.warning(request, text)
    return HttpResponseRedirect(resolve_url("home"))


def host_of(address: str) -> str:
    """Return the host and port of an address, for display."""
    return urlsplit(address).netloc


def private(response: HttpResponse) -> HttpResponse:
    """Forbid caching, and hide the page's address from the site to which it leads."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
