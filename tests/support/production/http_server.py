"""A minimal HTTP server that answers POST and GET, so that no framework is measured with it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HEAD_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection. `respond` gets head and body of a request and returns the whole response."""

    def __init__(self, respond: Callable[[Connection, bytes, bytes], bytes | None]) -> None:
        self._respond = respond
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(HEAD_END)) >= 0:
            head = bytes(self._received[:end])
            length = int(found[1]) if (found := LENGTH.search(head)) else 0
            whole = end + len(HEAD_END) + length
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + len(HEAD_END) : whole])
            del self._received[:whole]
            if response := self._respond(self, head, body):
                self.transport.write(response)


def make_response(body: bytes, kind: bytes, *headers: bytes) -> bytes:
    """Return a whole response with status 200."""
    return b"\r\n".join(
        [
            b"HTTP/1.1 200 OK",
            b"content-type: " + kind,
            b"content-length: %d" % len(body),
            *headers,
            b"",
            body,
        ]
    )


def serve(respond: Callable[[Connection, bytes, bytes], bytes | None]) -> None:
    """Print a free port of loopback, and serve on it."""
    asyncio.run(_serve(respond))


async def _serve(respond: Callable[[Connection, bytes, bytes], bytes | None]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(respond), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()
