"""The bytes of one connection to an upstream, both ways, with back-pressure.

The event loop reads whether or not anybody waits for bytes: so whatever an upstream sends
unasked is seen, through TLS as well, where a socket does not tell what was decrypted ahead.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from typing import Any, cast

HELD = 128 * 1024  # bytes that came and nobody took yet, from which on no more are read
# RFC 8305: the time after which the next address of a host is tried as well. uvloop has none.
NEXT_ADDRESS = {"happy_eyeballs_delay": 0.25}


class Wire(asyncio.Protocol):
    """One connection, once it is made."""

    def __init__(self) -> None:
        self.is_early = False  # something came before what was being written was out
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._is_paused = False
        self._ended = False
        self._error: Exception | None = None
        self._came = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises OSError where there is no clean end."""
        while not self._pieces:
            if self._error is not None:
                raise ConnectionError from self._error
            if self._ended:
                return b""
            self._came.clear()
            await self._came.wait()
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._is_paused and self._held < HELD:
            self._is_paused = False
            self._transport.resume_reading()
        return piece

    async def write(self, data: bytes, *, patience: float) -> None:
        """Write bytes out, within `patience` seconds. Raises OSError, TimeoutError too."""
        if self._pieces:
            self.is_early = True
        if not self._transport.is_closing():
            self._transport.write(data)
        if not self._writable.is_set():
            async with asyncio.timeout(patience):
                await self._writable.wait()
        if self._transport.is_closing():
            raise ConnectionError

    @property
    def peer(self) -> str:
        """The address at the other end, empty where the connection has ended."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that was not taken; nor is about to."""
        return not (
            self._pieces or self._ended or self._transport.is_closing() or self._is_readable()
        )

    def close(self) -> None:
        """Close at once, whatever is still to be written; what came can be read."""
        self._transport.abort()

    def _is_readable(self) -> bool:
        """Tell whether there is something that the loop has not read yet, the end included."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; a write is over when all of it is with the kernel, or encrypted."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=1, low=0)  # TLS would wait at a high of 0.

    def data_received(self, data: bytes) -> None:
        """Hold what came."""
        if self._transport.get_write_buffer_size():
            self.is_early = True
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= HELD and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._came.set()

    def eof_received(self) -> None:
        """Note that nothing more comes; the transport closes itself."""
        self._ended = True
        self._came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nobody wait any longer."""
        self._ended, self._error = True, exc
        self._came.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Have writers wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._writable.set()


async def connected(host: str, port: int, tls: ssl.SSLContext | None, *, patience: float) -> Wire:
    """Connect, within `patience` seconds. Raises OSError, TimeoutError too, and UnicodeError."""
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = NEXT_ADDRESS if isinstance(loop, asyncio.BaseEventLoop) else {}
    async with asyncio.timeout(patience):
        _, wire = await loop.create_connection(Wire, host, port, ssl=tls, **options)
    return wire
