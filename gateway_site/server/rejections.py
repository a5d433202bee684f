"""Rejects requests under every server and on every path, with a problem document or a page.

- Content-Length together with Transfer-Encoding: programs may disagree on where such a body ends,
  and read its rest as the next request (RFC 9112 section 6.1). Our own server rejects it earlier;
  others, such as h11, do not.
- Other protocols, by `Upgrade` or as a WebSocket. Offers of HTTP/2 (`h2c`) and TLS are
  ignored, not rejected: HTTP clients send them by default, and continue with HTTP/1.1 (RFC 9110
  section 7.8).
- Unknown methods (RFC 9110 section 9.1).
- Oversized fields (`oversized_field`), on which some parser might spend much time. Our own server
  rejects them earlier; others have other limits, or none.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from django.conf import settings

from gateway_site.edge.client import ASGIApplication, Receive, Scope, Send
from gateway_site.rules import problems
from gateway_site.server.request_syntax import oversized_field

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FRAMINGS = frozenset({b"content-length", b"transfer-encoding"})
IGNORED_OFFERS = (b"h2c", b"tls/")

Page = tuple[list[tuple[bytes, bytes]], bytes]  # headers and body


class Pages:
    """The pages for rejected requests; a site that only uses this server has none."""

    def __init__(self) -> None:
        self._render: Callable[[Scope, int], Page | None] = lambda _scope, _status: None

    def use(self, render: Callable[[Scope, int], Page | None]) -> None:
        """Have the application's pages shown. ``render`` must neither block nor take long."""
        self._render = render

    def page_for(self, scope: Scope, status: int) -> Page | None:
        """Return the page for a rejection; None if there is none, or a program reads it."""
        return self._render(scope, status)


pages = Pages()


@dataclass(frozen=True)
class Rejection:
    """A status and one sentence; with `closes`, the start of the next request is unknown."""

    status: int
    detail: str
    closes: bool = False

    @cached_property
    def body(self) -> bytes:
        """The problem document."""
        return problems.document(self.status, problems.code_of(self.status), self.detail)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields in ASGI's form."""
        return [
            (b"content-type", problems.CONTENT_TYPE.encode("ascii")),
            (b"content-length", str(len(self.body)).encode("ascii")),
            (b"cache-control", b"no-store"),
        ]


FRAMING = Rejection(400, "The request's body is not delimited in one way.", closes=True)
PROTOCOL = Rejection(501, "Only HTTP is supported here.")
METHOD = Rejection(501, "This method is not supported here.")


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that rejects such requests before they reach the given one."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket":
            return _reject_websocket(scope, send)
        if scope["type"] == "http" and (rejection := _rejection(scope["method"], scope["headers"])):
            return _send(rejection, scope, send, "http.response")
        return application(scope, receive, send)

    return serve


def _rejection(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Rejection | None:
    found = [(name.lower(), value) for name, value in headers]
    names = [name for name, _ in found]
    if oversized := oversized_field(found):
        return Rejection(oversized.status, str(oversized))
    if FRAMINGS.issubset(names):
        return FRAMING
    if b"upgrade" in names and any(_is_another_protocol(*pair) for pair in found):
        return PROTOCOL
    if method in METHODS or any(method in each.methods for each in settings.UPSTREAMS.values()):
        return None
    return METHOD


def _is_another_protocol(name: bytes, offers: bytes) -> bool:
    if name != b"upgrade":
        return False
    named = (offer.strip().lower() for offer in offers.split(b","))
    return not all(offer.startswith(IGNORED_OFFERS) for offer in named)


async def _reject_websocket(scope: Scope, send: Send) -> None:
    """Send an HTTP response if the server can; otherwise close, and the server responds 403.

    https://asgi.readthedocs.io/en/stable/extensions.html#websocket-denial-response
    """
    if "websocket.http.response" in scope.get("extensions", {}):
        await _send(PROTOCOL, None, send, "websocket.http.response")
    else:
        await send({"type": "websocket.close"})


async def _send(rejection: Rejection, scope: Scope | None, send: Send, kind: str) -> None:
    """Send the rejection, as a page if a browser shows it to a person."""
    page = None if scope is None else pages.page_for(scope, rejection.status)
    headers, body = page or (rejection.headers, rejection.body)
    if rejection.closes:
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": rejection.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
