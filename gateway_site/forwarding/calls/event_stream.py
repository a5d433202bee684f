"""A response that is an event stream, which can be ended from outside after a whole event.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from typing import Protocol

from gateway_site.rules.headers import Headers, joined_values

# The end of a line, and an empty line: a group, since that may end another event of no lines.
EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?=(\r\n|\n|\r))")
EVENT_END_SIZE = 4  # bytes at most
# Headers of a response that is encoded, or that must have so many bytes.
FIXED = (b"content-encoding", b"content-length")


class StreamCut(Exception):
    """The stream was ended, and its client must not take it for complete."""


class UpstreamResponse(Protocol):
    """What is used of a response (`gateway_site.transport.connection.Response`)."""

    status: int
    headers: Headers

    @property
    def is_complete(self) -> bool:
        """Whether the rest of the body has arrived."""

    @property
    def has_ended(self) -> bool:
        """Whether the complete body was read."""

    def read_rest(self) -> bytes:
        """Return what has arrived."""

    async def read_piece(self, seconds: float) -> bytes:
        """Return the next piece, which may be b"". Raises UpstreamFailed."""

    def wake(self) -> None:
        """Make the current or next `read_piece` return what is there."""

    def close(self) -> None:
        """Release the connection."""


class EventStream:
    """Reads a response as `Response` does; after `end`, up to the end of the current event."""

    def __init__(self, response: UpstreamResponse, *, has_result: bool) -> None:
        """Read this response; one with a result is complete only if the upstream ends it."""
        self.is_complete = False
        self._response = response
        self._has_result = has_result
        self._must_end = False
        self._has_ended = False
        self._sent = b"\n\n"  # the last bytes; no event has begun

    @property
    def has_ended(self) -> bool:
        """Whether the client has everything that it gets."""
        return self._response.has_ended or (self._has_ended and not self._has_result)

    def end(self) -> None:
        """End after the current event: at once, if the client has the whole of the last one."""
        self._must_end = True
        self._response.wake()

    def read_rest(self) -> bytes:
        """Return what has arrived."""
        return self._response.read_rest()

    async def read_piece(self, seconds: float) -> bytes:
        """Return the next piece, which may be b"".

        Raises UpstreamFailed, and StreamCut if the result is still missing.
        """
        if self._has_ended:
            raise StreamCut
        return self._cut(await self._response.read_piece(seconds))

    def _cut(self, piece: bytes) -> bytes:
        """Return the piece; if the stream has to end first, at most up to the end of the event."""
        if self._response.has_ended:  # The rest, perhaps with the result, is here: it is passed on.
            return piece
        known = self._sent + piece
        for found in EVENT_END.finditer(known) if self._must_end else ():
            if found.end(1) >= len(self._sent):
                self._has_ended = True
                return known[len(self._sent) : found.end(1)]
        self._sent = known[-EVENT_END_SIZE:]
        return piece


def is_event_stream(response: UpstreamResponse) -> bool:
    """Return True for a response of the type of event streams."""
    kind = joined_values(response.headers, b"content-type").partition(";")[0]
    return kind.strip().lower() == "text/event-stream"


def has_readable_events(response: UpstreamResponse) -> bool:
    """Return True if its events can be seen, and it may end after any of them."""
    return is_event_stream(response) and not any(
        joined_values(response.headers, name) for name in FIXED
    )
