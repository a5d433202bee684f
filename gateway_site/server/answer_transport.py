"""A transport that sends the head of a response together with its body.

uvicorn writes the head and each piece of a body separately, and each write is a system call and a
packet. Bytes leave in the same order, at the latest in the event loop's next iteration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SMALL = 16 * 1024  # bytes that may be held, for what is written next


class BufferedTransport:
    """The methods of a transport that uvicorn's responses use; `close` is a callback.

    Call `flush` before writing to the transport itself, or closing it.
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
        """Return True if nothing more will be sent."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes with buffered ones; or buffer them for an iteration, if they are few."""
        if self._held or len(data) > SMALL:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is buffered."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
