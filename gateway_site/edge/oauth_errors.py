"""Errors at the addresses that OAuth clients call, as JSON (RFC 6749 section 5.2).

The authorization server's own errors are JSON that pages of every origin may read. This module
converts all others: of the server, the handler, Django or its middleware. After a 503 in another
form some clients discard their tokens (the SDK for TypeScript). A person in a browser gets the page
as it is.
"""

import json
from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings

from gateway_site.edge.client import ASGIApplication, Receive, Scope, Send

PREFIXES = ("/oauth/", "/.well-known/oauth-")
PAGE = "/oauth/authorize"  # for people alone
JSON = b"application/json"
RETRY_AFTER = b"5"  # seconds
# Headers about the error itself, and cookies; all others are kept.
REPLACED = frozenset({b"content-type", b"content-length", b"content-encoding", b"set-cookie"})
CODES = {500: "server_error", 503: "temporarily_unavailable"}  # RFC 6749 section 4.1.2.1
DESCRIPTIONS = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    500: "The authorization server failed.",
    503: "The request cannot be answered now. Try again in a few seconds.",
}

Headers = list[tuple[bytes, bytes]]


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application whose errors OAuth clients can read."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and is_for_client(scope):
            return application(scope, receive, _ErrorSender(send).send)
        return application(scope, receive, send)

    return serve


def is_for_client(scope: Scope) -> bool:
    """Return True if a program calls an address of the authorization server."""
    path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    if path == PAGE or not (path.startswith(PREFIXES) or path == "/token"):
        return False
    # Another site under this server has no such setting.
    return bool(getattr(settings, "AUTHORIZATION_SERVER", None)) and not _is_navigation(scope)


def error_response(
    status: int, headers: Iterable[tuple[bytes, bytes]] = ()
) -> tuple[Headers, bytes]:
    """Return headers and body of an error; given headers are kept, except those about the body."""
    description = DESCRIPTIONS.get(status) or HTTPStatus(status).phrase + "."
    document = {"error": CODES.get(status, "invalid_request"), "error_description": description}
    body = json.dumps(document).encode()
    made = {
        b"content-type": JSON,
        b"content-length": str(len(body)).encode("ascii"),
        b"access-control-allow-origin": b"*",
        b"cache-control": b"no-store",
    }
    kept = {name.lower(): value for name, value in headers if name.lower() not in REPLACED}
    retry = {b"retry-after": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return list((retry | kept | made).items()), body


class _ErrorSender:
    """Sends one response; an error that is not JSON gets another head and body."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._body: bytes | None = None  # instead of the response's own
        self._is_sent = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message = self._start(message)
        elif message["type"] == "http.response.body" and self._body is not None:
            if self._is_sent:
                return
            self._is_sent = True
            message = {"type": message["type"], "body": self._body}
        await self._send(message)

    def _start(self, message: Any) -> Any:
        status, headers = message["status"], list(message.get("headers", ()))
        kind = {name.lower(): value for name, value in headers}.get(b"content-type", b"")
        if status < HTTPStatus.BAD_REQUEST or kind.partition(b";")[0].strip() == JSON:
            return message
        headers, self._body = error_response(status, headers)
        return {**message, "headers": headers}


def _is_navigation(scope: Scope) -> bool:
    """Return True if a person waits for a page (https://www.w3.org/TR/fetch-metadata/)."""
    headers = dict(scope["headers"])
    if mode := headers.get(b"sec-fetch-mode"):
        return bool(mode == b"navigate")
    return scope["method"] in {"GET", "HEAD"} and b"text/html" in headers.get(b"accept", b"")
