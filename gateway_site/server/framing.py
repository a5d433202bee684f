"""Content-Length together with Transfer-Encoding is refused under every server, on every path.

Two programs may not agree on where such a body ends, and what one takes for the rest of it
the other takes for the next request (RFC 9112 section 6.1). Our own server lets none through;
others, h11 among them, do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

SENTENCE = b"The request's body is not delimited in one way."
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(SENTENCE)).encode())]

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]
WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that refuses such requests before the given one sees them."""

    async def framed(scope: Scope, receive: Receive, send: Send) -> None:
        names = {name.lower() for name, _ in scope.get("headers", ())}
        if not names >= {b"content-length", b"transfer-encoding"}:
            await application(scope, receive, send)
            return
        # Closed, since nobody knows where the next request begins.
        headers = [*HEADERS, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": SENTENCE})

    return framed


def wsgi(application: WSGIApplication) -> WSGIApplication:
    """Return an application that refuses such requests before the given one sees them."""

    def framed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not (environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" in environ):
            return application(environ, start_response)
        headers = [(name.decode(), value.decode()) for name, value in HEADERS]
        start_response("400 Bad Request", headers)  # whether it closes is the server's to say
        return [SENTENCE]

    return framed
