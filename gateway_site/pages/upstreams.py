"""Pages about one upstream: trying it, connecting a client, and continuing to it after a sign-in.

Trying a connection makes one call through the gateway itself and shows the response. The browser's
request is sent to the gateway's ASGI application again with an upstream's URL, so that every rule
of the gateway applies. Status, media type and the beginning of the response are shown as text.

An upstream that OAuth clients may call, such as an MCP server, returns little to a plain GET: its
page shows how to connect a client, and makes a call only on request (`?call`).
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding.asgi import gateway
from gateway_site.forwarding.calls.upstream_token import reconnect_url
from gateway_site.mcp.json_text import is_too_deep
from gateway_site.pages.connections import accepts_clients, upstream_url
from gateway_site.rules import problems
from gateway_site.rules.mcp_clients import client_setups
from gateway_site.rules.opened_address import ADDRESS_FIELD, is_call_address
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import upstream_client
from oauth import load_token_set, release_sql_connections
from oauth.mcp.servers import find_server
from oauth.provider import config


@require_safe
@never_cache
@login_required
def continue_to_call(request: HttpRequest) -> HttpResponse:
    """Offer the link to a call that needed a sign-in first.

    The redirects of a sign-in come from the provider's site, and calls from other sites are
    rejected. So the person decides, and has seen the URL before a call from another site's link is
    made.
    """
    address = request.GET.get(ADDRESS_FIELD, "")
    if not is_call_address(address):
        raise Http404
    return render(request, "continue.html", {"address": address})


CALL = "call"  # the parameter that requests a call instead of the client setups
METHOD = "GET"
SIZE_MAX = 64 * 1024  # bytes of a response that are shown
INDENTED_LEVELS = 20
TIMEOUT = 10.0  # seconds
# Headers that would request a part of the response, an encoded one, or none.
DROPPED_HEADERS = ("accept", "connection", "content-", "if-", "range", "transfer-", "upgrade")
ACCEPT_HEADERS = [(b"accept", b"application/json, */*;q=0.5"), (b"accept-encoding", b"identity")]
# A token of the gateway, or of a provider; a space before it may be encoded, as in `Bearer%20eyJ`.
JWT = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")
HIDDEN = _("[a token, not shown]")


@dataclass
class TrialResponse:
    """The response to a trial call; `body` is its beginning. The status is 0 until it has started.

    `cookies` are the gateway's own: it does not pass on an upstream's cookies.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cookies: SimpleCookie = field(default_factory=SimpleCookie)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    cut: bool = False  # whether the response was longer

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_problem(self) -> bool:
        """Whether the response is from the gateway and not from the upstream."""
        return problems.MARK.lower() in self.headers

    @property
    def phrase(self) -> str:
        """The status with its phrase."""
        known = self.status in {status.value for status in HTTPStatus}
        return f"{self.status} {HTTPStatus(self.status).phrase}" if known else str(self.status)


@require_safe
@never_cache
@login_required
def try_upstream(request: HttpRequest, name: str) -> HttpResponse:
    """Call an upstream's first path and show the response, or show how to connect a client."""
    upstream = settings.UPSTREAMS.get(name)
    if upstream is None:
        raise Http404
    if accepts_clients(upstream) and CALL not in request.GET:
        return _client_setups(request, upstream)
    if METHOD not in upstream.methods:
        raise Http404
    path = f"/gateway/{upstream.name}" + (upstream.paths[0] if upstream.paths else "/")
    # For Django's test client, which has no scope, the call runs in a new event loop.
    call = _call_gateway if hasattr(request, "scope") else _call_gateway_in_new_loop
    release_sql_connections()  # the call may take long
    trial = async_to_sync(call)(_scope(request, path))
    provider = config.find_provider(upstream.provider) or find_server(upstream.provider)
    context = {
        "upstream": upstream,
        "provider_name": upstream.provider if provider is None else provider.label,
        "path": path,
        "trial": trial,
        "problem": _problem(trial),
        "sign_in_url": reconnect_url(upstream.provider),
        "text": _remove_tokens(request, upstream, _text(trial)),
    }
    response = render(request, "try.html", context)
    response.cookies.update(trial.cookies)  # The call may have refreshed the token.
    return response


def _client_setups(request: HttpRequest, upstream: Upstream) -> HttpResponse:
    """Return the page that shows how to connect a client to an upstream."""
    address = upstream_url(request, upstream)
    context = {
        "upstream": upstream,
        "address": address,
        "setups": client_setups(upstream.name, address),
        "can_call": METHOD in upstream.methods,
    }
    return render(request, "connect_client.html", context)


def _scope(request: HttpRequest, path: str) -> dict[str, Any]:
    """Return the ASGI scope of the same browser's request for another path."""
    prefix = (request.META.get("SCRIPT_NAME") or "").rstrip("/")
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in request.headers.items()
        if not name.lower().startswith(DROPPED_HEADERS)
    ]
    scope: dict[str, Any] = getattr(request, "scope", {})
    return {
        "type": "http",
        "http_version": "1.1",
        "method": METHOD,
        "scheme": scope.get("scheme") or request.META.get("wsgi.url_scheme", "http"),
        "path": prefix + path,
        "raw_path": (prefix + path).encode("ascii"),
        "root_path": prefix,
        "query_string": b"",
        "headers": [*headers, *ACCEPT_HEADERS],
        "client": scope.get("client"),
        "server": scope.get("server"),
    }


async def _call_gateway(scope: dict[str, Any]) -> TrialResponse:
    """Call the gateway; disconnect, as a browser can, after TIMEOUT or SIZE_MAX."""
    trial, enough = TrialResponse(), asyncio.Event()

    async def receive() -> Mapping[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            trial.status = message["status"]
            for name, value in message["headers"]:
                if name.lower() == b"set-cookie":
                    trial.cookies.load(value.decode("latin-1"))
                else:
                    trial.headers[name.decode("latin-1").lower()] = value.decode("latin-1")
            return
        piece, space = message.get("body", b""), SIZE_MAX - len(trial.body)
        trial.body += piece[:space]
        trial.cut = trial.cut or len(piece) > space
        trial.complete = not message.get("more_body", False) and not trial.cut
        if len(trial.body) >= SIZE_MAX:
            enough.set()

    timer = asyncio.get_running_loop().call_later(TIMEOUT, enough.set)
    await gateway()(scope, receive, send)
    timer.cancel()
    return trial


async def _call_gateway_in_new_loop(scope: dict[str, Any]) -> TrialResponse:
    """Call the gateway in an event loop that ends afterwards, with its connections."""
    try:
        return await _call_gateway(scope)
    finally:
        await upstream_client.close()


def _problem(trial: TrialResponse) -> dict[str, Any] | None:
    try:
        problem = json.loads(trial.body) if trial.is_problem else None
    except ValueError:
        return None
    return problem if isinstance(problem, dict) else None


def _text(trial: TrialResponse) -> str:
    """Return the body as text: JSON is indented, and binary data is empty.

    JSON that is nested deep is not: as text it would be a thousand times as long.
    """
    body = bytes(trial.body)
    if trial.complete and (trial.kind == "application/json" or trial.kind.endswith("+json")):
        try:
            content = json.loads(body)
            if not is_too_deep(body, INDENTED_LEVELS):
                return json.dumps(content, indent=2, ensure_ascii=False)
        except (RecursionError, ValueError):
            pass
    text = body.decode("utf-8", errors="replace")
    return "" if "\0" in text else text


def _remove_tokens(request: HttpRequest, upstream: Upstream, text: str) -> str:
    """Remove tokens that an upstream echoes: the page must not show them.

    The session is read again, because the call or another request may have refreshed the token.
    """
    for session in (request.session, type(request.session)(request.session.session_key)):
        held = load_token_set(session, upstream.provider)
        for secret in (held.access_token, held.refresh_token, held.id_token) if held else ():
            text = text.replace(secret, str(HIDDEN)) if secret else text
    return text if upstream.identity is None else JWT.sub(str(HIDDEN), text)
