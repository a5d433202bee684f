"""A connection as the answers on it see it: head and body that are there together go out together.

uvicorn writes the head and each piece of a body by itself, and each write is a call of the
kernel and a packet. Bytes enter; they leave in the same order, no later than in the event loop's
next turn. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SMALL = 16 * 1024  # bytes that may be held, for what is written next


class AnswerTransport:
    """The part of a transport that uvicorn's answers use; who closes it is told by `close`.

    Whoever writes to the transport itself, or closes it, calls `flush` first.
    """

    __slots__ = ("_held", "_loop", "_transport", "close")  # a stream's stays for an hour

    def __init__(
        self,
        transport: asyncio.Transport,
        close: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.close = close

    def is_closing(self) -> bool:
        """Tell whether nothing more will be sent."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes with those that are held; or hold them for a turn, if they are few."""
        if self._held or len(data) > SMALL:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
