"""A transport that sends the head of a response together with its body.

uvicorn writes the head and each piece of a body separately, and each write is a system call and a
packet. Bytes are sent in the same order, no later than in the event loop's next iteration.
"""

import asyncio
from collections.abc import Callable

SMALL = 16 * 1024  # bytes; larger writes are not buffered


class BufferedTransport:
    """The methods of a transport that uvicorn's responses use; `close` is a callback.

    Call `flush` before writing to the transport itself, or closing it.
    """

    __slots__ = ("_buffer", "_loop", "_transport", "close")  # small: a stream may last an hour

    def __init__(
        self,
        transport: asyncio.Transport,
        close: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._buffer = b""
        self.close = close

    def is_closing(self) -> bool:
        """Return True if nothing more will be sent."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes after the buffered ones; or buffer them for one iteration, if they are few."""
        if self._buffer or len(data) > SMALL:
            buffered, self._buffer = self._buffer, b""
            self._transport.write(buffered + data)
        elif data:
            self._buffer = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send the buffered bytes."""
        if self._buffer:
            buffered, self._buffer = self._buffer, b""
            self._transport.write(buffered)
