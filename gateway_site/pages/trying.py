"""Try a connection: one call of an upstream through the gateway itself, shown as a page.

An upstream that OAuth clients may call, such as an MCP server, says little to a plain GET: its page
shows how to connect a client, and calls only on request (`?call`).

The browser's request enters, and is put to the gateway's ASGI application anew with an
upstream's address: every rule of the gateway holds. Status, kind and the beginning of
the answer leave as text.
"""

from __future__ import annotations

import asyncio
import json
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
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding import bearer
from gateway_site.forwarding.handler import gateway
from gateway_site.pages.upstream_address import accepts_clients, address_of
from gateway_site.rules import mcp_clients, problems
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import upstream_client
from oauth import give_back_sql_connections, token_set_of
from oauth.provider import config

CALL = "call"  # the parameter that asks for a call where a client would be connected
METHOD = "GET"
SHOWN = 64 * 1024  # bytes of an answer
TIMEOUT = 10.0  # seconds
# The call is another one: these would ask for a part of its answer, an encoded one, or none.
NOT_PASSED_ON = ("accept", "connection", "content-", "if-", "range", "transfer-", "upgrade")
ACCEPTED = [(b"accept", b"application/json, */*;q=0.5"), (b"accept-encoding", b"identity")]
HIDDEN = "[a token, not shown]"


@dataclass
class Answer:
    """What came of a call; ``body`` is its beginning. The status is 0 while none came.

    ``cookies`` are the gateway's own: it passes on none of an upstream's.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cookies: SimpleCookie = field(default_factory=SimpleCookie)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    cut: bool = False  # more came than is shown

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_problem(self) -> bool:
        """Whether the gateway answered, not the upstream."""
        return problems.MARK.lower() in self.headers

    @property
    def phrase(self) -> str:
        """The status and what it is called."""
        known = self.status in {status.value for status in HTTPStatus}
        return f"{self.status} {HTTPStatus(self.status).phrase}" if known else str(self.status)


@require_safe
@never_cache
@login_required
def try_upstream(request: HttpRequest, name: str) -> HttpResponse:
    """Call an upstream's first path and show what it answers, or how a client is connected."""
    upstream = settings.UPSTREAMS.get(name)
    if upstream is None:
        raise Http404
    if accepts_clients(upstream) and CALL not in request.GET:
        return _client_setups(request, upstream)
    if METHOD not in upstream.methods:
        raise Http404
    path = f"/gateway/{upstream.name}" + (upstream.paths[0] if upstream.paths else "/")
    # Under WSGI, which has no scope, the call has an event loop of its own.
    call = _called if hasattr(request, "scope") else _called_alone
    give_back_sql_connections()  # the call may take long
    answer = async_to_sync(call)(_scope(request, path))
    provider = config.provider(upstream.provider)
    context = {
        "upstream": upstream,
        "provider_name": upstream.provider if provider is None else provider.label,
        "path": path,
        "answer": answer,
        "problem": _problem(answer),
        "sign_in_url": bearer.sign_in_url(upstream.provider),
        "text": _without_tokens(request, upstream, _text(answer)),
    }
    response = render(request, "try.html", context)
    response.cookies.update(answer.cookies)  # The call may have refreshed the token.
    return response


def _client_setups(request: HttpRequest, upstream: Upstream) -> HttpResponse:
    """Return the page that says how to connect a client to an upstream."""
    address = address_of(request, upstream)
    context = {
        "upstream": upstream,
        "address": address,
        "setups": mcp_clients.setups(upstream.name, address),
        "can_call": METHOD in upstream.methods,
    }
    return render(request, "connect_client.html", context)


def _scope(request: HttpRequest, path: str) -> dict[str, Any]:
    """Return the ASGI scope of the same browser's request for another address."""
    prefix = (request.META.get("SCRIPT_NAME") or "").rstrip("/")
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in request.headers.items()
        if not name.lower().startswith(NOT_PASSED_ON)
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
        "headers": [*headers, *ACCEPTED],
        "client": scope.get("client"),
        "server": scope.get("server"),
    }


async def _called(scope: dict[str, Any]) -> Answer:
    """Call the gateway; after a while, or a while into the answer, be gone as a browser can."""
    answer, enough = Answer(), asyncio.Event()

    async def receive() -> Mapping[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            for name, value in message["headers"]:
                if name.lower() == b"set-cookie":
                    answer.cookies.load(value.decode("latin-1"))
                else:
                    answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")
            return
        piece, room = message.get("body", b""), SHOWN - len(answer.body)
        answer.body += piece[:room]
        answer.cut = answer.cut or len(piece) > room
        answer.complete = not message.get("more_body", False) and not answer.cut
        if len(answer.body) >= SHOWN:
            enough.set()

    patience = asyncio.get_running_loop().call_later(TIMEOUT, enough.set)
    await gateway()(scope, receive, send)
    patience.cancel()
    return answer


async def _called_alone(scope: dict[str, Any]) -> Answer:
    """Call the gateway in an event loop that ends then, and with it the connection."""
    try:
        return await _called(scope)
    finally:
        await upstream_client.close()


def _problem(answer: Answer) -> dict[str, Any] | None:
    try:
        problem = json.loads(answer.body) if answer.is_problem else None
    except ValueError:
        return None
    return problem if isinstance(problem, dict) else None


def _text(answer: Answer) -> str:
    """Return the body as a person reads it; JSON laid out, and nothing for what is no text."""
    body = bytes(answer.body)
    if answer.complete and (answer.kind == "application/json" or answer.kind.endswith("+json")):
        try:
            return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
        except (RecursionError, ValueError):
            pass
    text = body.decode("utf-8", errors="replace")
    return "" if "\0" in text else text


def _without_tokens(request: HttpRequest, upstream: Upstream, text: str) -> str:
    """Take out what an upstream repeats of the call: the page shows no token.

    The session is read again, since the call, or another request, may have refreshed the token.
    """
    for session in (request.session, type(request.session)(request.session.session_key)):
        held = token_set_of(session, upstream.provider)
        for secret in (held.access_token, held.refresh_token, held.id_token) if held else ():
            text = text.replace(secret, HIDDEN) if secret else text
    return text
