"""The way back to a client: a page that leads on, and never a redirect.

Chromium holds each redirect after a form against the form's policy (`form-action`), so a client's
host would have to stand in it, and those that it leads on to; a page may lead anywhere. `iss` tells
the client who answers (RFC 9207).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from oauth.clients.endpoints.consent_page import leads_to
from oauth.clients.issued import Allowed
from oauth.clients.live_grants import LIVE_MAX
from oauth.clients.rules.authorization_request import Asked
from oauth.clients.rules.client import Client
from oauth.clients.rules.refusal import Refused
from oauth.clients.server import AuthorizationServer
from oauth.clients.told import ToldGrant

logger = logging.getLogger(__name__)


def with_code(
    request: HttpRequest, issuer: str, client: Client, asked: Asked, allowed: Allowed
) -> HttpResponse:
    """Return the page that brings a code to a client, to which its person chose to go.

    It waits for them where it has to say that another app was signed out.
    """
    __traceback_hide__ = True
    address = _address(issuer, asked, {"code": allowed.code})
    return _page(request, client, asked, address, is_led=not allowed.ended, ended=allowed.ended)


def error(
    request: HttpRequest, server: AuthorizationServer, client: Client, asked: Asked, why: Refused
) -> HttpResponse:
    """Return the page that tells a client why it gets nothing.

    It leads on by itself only where that leads nobody astray; otherwise it names the host.
    """
    logger.info("An authorization request was refused (%s): %s", why.code, why.description)
    told = {"error": why.code, "error_description": why.description}
    is_led = server.may_redirect(client, asked.redirect_uri)
    address = _address(server.issuer, asked, told)
    return _page(request, client, asked, address, is_led=is_led, why=why)


def refused(request: HttpRequest, why: str, status: HTTPStatus) -> HttpResponse:
    """Return a page for the person alone."""
    context = {"why": why, "is_temporary": status == HTTPStatus.SERVICE_UNAVAILABLE}
    return _private(render(request, "oauth/clients/refused.html", context, status=status))


def _page(
    request: HttpRequest,
    client: Client,
    asked: Asked,
    address: str,
    *,
    is_led: bool,
    why: Refused | None = None,
    ended: Sequence[ToldGrant] = (),
) -> HttpResponse:
    __traceback_hide__ = True
    context = {
        "client": client,
        "address": address,
        "is_led": is_led,
        "place": leads_to(asked.redirect_uri),
        "why": why,
        "ended": ended,
        "most": LIVE_MAX,
    }
    status = HTTPStatus.OK if is_led or not why else HTTPStatus.BAD_REQUEST
    return _private(render(request, "oauth/clients/way_back.html", context, status=status))


def _address(issuer: str, asked: Asked, answer: dict[str, str]) -> str:
    __traceback_hide__ = True
    state = {} if asked.state is None else {"state": asked.state}
    query = urlencode(answer | state | {"iss": issuer})
    joint = "&" if "?" in asked.redirect_uri else "?"
    return f"{asked.redirect_uri}{joint}{query}"


def _private(response: HttpResponse) -> HttpResponse:
    """Have nobody keep the page, or learn its address or those on it from where it leads."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
