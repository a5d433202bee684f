"""The body of a request, received piece by piece, and whether the client is still connected.

The next piece is received when the upstream has taken the previous one, so at most one is kept
besides the server's own bounded buffer. A client is awaited as long as it sends a kilobyte a
second, averaged over ten seconds.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gateway_site.edge.client import Client, ClientGone, Receive
from gateway_site.rules.bounded_wait import wait_bounded
from gateway_site.rules.headers import Headers, single_value
from gateway_site.rules.problems import Problem

REPLAY_MAX = 64 * 1024  # bytes of a body that can be sent a second time
TAKES_BODY = frozenset({"POST", "PUT", "PATCH"})
CHUNKED = (b"transfer-encoding", b"chunked")
EMPTY_BODY = [(b"content-length", b"0")]
BODY_TIMEOUT = 10.0  # seconds for which a client is waited for
BYTES_PER_SECOND = 1024  # bytes that earn a client another second


class BodyTimer:
    """How long the client is still awaited: received bytes add time, up to a maximum.

    Time in which nothing is received, since the upstream is slow, does not count.
    """

    def __init__(self) -> None:
        self._left = BODY_TIMEOUT

    async def receive(self, receive: Receive) -> Mapping[str, Any]:
        """Return the next message. Raises TimeoutError if the client is too slow."""
        now = asyncio.get_running_loop().time
        started = now()
        message = await wait_bounded(self._left, receive())
        earned = len(message.get("body", b"")) / BYTES_PER_SECOND
        self._left = min(BODY_TIMEOUT, self._left - (now() - started) + earned)
        return message


class RequestBody:
    """One request's body. `framing` are the headers that delimit it towards the upstream."""

    def __init__(self, client: Client, framing: Headers, max_size: int) -> None:
        """`framing` is the result of the function; `max_size` is in bytes."""
        self._client = client
        self._timer = BodyTimer()
        self._max_size = max_size
        self._size = 0
        self._kept: list[bytes] | None = []
        self._keep_max = REPLAY_MAX
        self.framing = framing
        self._complete = framing in ([], EMPTY_BODY)
        self._ended = None if self._complete else asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body once. Raises ClientGone, and Problem if it gets too large."""
        try:
            while not self._complete:
                if piece := await self._receive():
                    yield piece
        finally:
            self._set_ended()

    async def read(self, max_size: int) -> bytes:
        """Return the whole body, which is kept for `replay`.

        Raises ClientGone, and Problem if it has more than so many bytes.
        """
        self._max_size = min(self._max_size, max_size)
        self._keep_max = self._max_size
        async for _ in self.pieces():
            pass
        content = b"".join(self._kept or [])
        self.framing = [(b"content-length", b"%d" % len(content))]
        return content

    async def replay(self) -> AsyncGenerator[bytes, None]:
        """Yield the body again, if `can_replay`."""
        for piece in self._kept or []:
            yield piece

    @property
    def can_replay(self) -> bool:
        """Whether the whole body was small enough to be kept."""
        return self._kept is not None and self._complete

    async def watch(self) -> None:
        """Raise ClientGone when the client has disconnected; drop the rest of the body."""
        if self._ended is not None:
            await self._ended.wait()
        while (await self._client.receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    def end(self) -> None:
        """Receive no more of the body: the response is there."""
        if not self._complete:
            self.stop_keeping()
        self._set_ended()

    def stop_keeping(self) -> None:
        """Keep nothing for a replay."""
        self._kept = None
        self._client.stream_body()

    def _set_ended(self) -> None:
        if self._ended is not None:
            self._ended.set()

    async def _receive(self) -> bytes:
        try:
            message = await self._timer.receive(self._client.receive)
        except TimeoutError:
            raise Problem(408, "request_timeout", "The request's body did not arrive.") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = bytes(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        self._size += len(piece)
        if self._size > self._max_size:
            raise body_too_large()
        self._keep(piece)
        self._client.start_work()
        return piece

    def _keep(self, piece: bytes) -> None:
        if self._size > self._keep_max:
            self.stop_keeping()
        elif piece and self._kept is not None:
            self._kept.append(piece)


def framing(scope: Mapping[str, Any], max_size: int) -> Headers:
    """Return the header that delimits a body towards the upstream; none without a body.

    Raises Problem. A request with both headers is rejected, since two servers may disagree on where
    it ends (RFC 9112 section 6.3). From HTTP/2 on neither is needed (RFC 9113 section 8.1.1): a
    body is then passed on in chunks.
    """
    headers: Headers = scope["headers"]
    names = [name.lower() for name, _ in headers]
    if b"transfer-encoding" in names:
        coding = (single_value(headers, b"transfer-encoding") or b"").lower()
        if b"content-length" in names or coding != b"chunked":
            raise Problem(400, "bad_framing", "The request's body is not delimited in one way.")
        return [CHUNKED]
    if b"content-length" not in names:
        unsaid = scope["http_version"] not in {"1.0", "1.1"} and scope["method"] in TAKES_BODY
        return [CHUNKED] if unsaid else []
    length = single_value(headers, b"content-length")
    if length is None or not length.isdigit() or len(length) > 18:
        raise Problem(400, "bad_framing", "The request's body is not delimited in one way.")
    if int(length) > max_size:
        raise body_too_large()
    return [(b"content-length", length)]


def body_too_large() -> Problem:
    return Problem(413, "too_large", "The request's body is larger than this upstream takes.")
