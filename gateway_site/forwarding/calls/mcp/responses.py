"""Responses whose MCP messages are read before they pass: one as JSON, or events."""

from collections.abc import Callable

from gateway_site.forwarding.calls.event_stream import UpstreamResponse
from gateway_site.forwarding.calls.mcp.reading_threads import read_in_turn
from gateway_site.mcp.events import PRINTABLE, Event, EventReader, UnreadableEvent
from gateway_site.mcp.messages import InvalidMessage
from gateway_site.mcp.policy import Policy
from gateway_site.rules.headers import Headers
from gateway_site.transport.failures import UpstreamFailed
from gateway_site.transport.pool import Owner

OLD_TRANSPORT = "endpoint"  # the first event of 2024-11-05
MESSAGE = "message"  # the type of events that clients read
COMMENT = b":\n\n"  # keeps a connection alive like what it replaces


class UnreadableResponse(UpstreamFailed):
    """A response that is no message of MCP which all clients read in one way."""


class ReadJSON:
    """A response that was read as a whole, with its content or another."""

    is_complete = has_ended = True

    def __init__(self, response: UpstreamResponse, content: bytes) -> None:
        self._response = response
        self._content = content
        self.status = response.status
        length = (b"content-length", str(len(content)).encode("ascii"))
        kept = [pair for pair in response.headers if pair[0] != b"content-length"]
        self.headers: Headers = [*kept, length]

    def read_rest(self) -> bytes:
        """Return the content."""
        return self._content

    async def read_piece(self, seconds: float) -> bytes:
        """Return nothing: all of it is complete."""
        return b""

    def wake(self) -> None:
        """Do nothing: nobody waits for it."""

    def close(self) -> None:
        """Release the connection."""
        self._response.close()


class ReadEvents:
    """An event stream of which only whole events come out, read and perhaps rewritten."""

    is_complete = False

    def __init__(
        self,
        response: UpstreamResponse,
        owner: Owner,
        new_result: Callable[[bytes], str | None],
        policy: Policy,
    ) -> None:
        self._response = response
        self._owner = owner
        self._new_result = new_result
        self._policy = policy
        self._reader = EventReader()
        self._is_unreadable = False
        self.status = response.status
        self.headers = response.headers
        self.headers[:] = [pair for pair in response.headers if pair[0] != b"content-length"]

    @property
    def has_ended(self) -> bool:
        """Whether the upstream has ended it between two events."""
        return (
            self._response.has_ended and not self._is_unreadable and self._reader.is_between_events
        )

    def read_rest(self) -> bytes:
        """Return nothing, since it is never complete from the start."""
        return b""

    async def read_piece(self, seconds: float) -> bytes:
        """Return the next events, perhaps none. Raises UpstreamFailed."""
        is_cut = self._response.has_ended and not self._reader.is_between_events
        if self._is_unreadable or is_cut:
            raise UnreadableResponse
        piece = await self._response.read_piece(seconds)
        size = len(piece) + self._reader.pending
        return await read_in_turn(self._owner, size, lambda: self._pass_on(piece))

    def wake(self) -> None:
        """Make the current or next `read_piece` return."""
        self._response.wake()

    def close(self) -> None:
        """Release the connection."""
        self._response.close()

    def _pass_on(self, piece: bytes) -> bytes:
        """Return what a piece completes, up to what cannot be read."""
        passed = bytearray()
        try:
            for found in self._reader.feed(piece):
                passed += found if isinstance(found, bytes) else self._read(found)
        except (UnreadableEvent, InvalidMessage):
            self._is_unreadable = True
        return bytes(passed)

    def _read(self, event: Event) -> bytes:
        """Return an event as it passes. Raises InvalidMessage and UnreadableEvent."""
        if event.type == OLD_TRANSPORT:
            if not self._policy.accepts_old_transport or not PRINTABLE.fullmatch(event.data):
                raise UnreadableEvent("of an old transport")
            return event.passing
        if not event.data.strip(b" \t\n"):  # clients get no message of it
            return event.passing
        try:
            text = self._new_result(event.data)
        except InvalidMessage:
            if event.type == MESSAGE:
                raise
            return COMMENT  # a sign of life, for example: clients read no message in it either
        return event.passing if text is None else event.with_data(text)
