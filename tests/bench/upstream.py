"""An upstream: one kilobyte of JSON, or events once a second under `/events`.

Under `/once` it closes the connection after its response. With a file that has a certificate
and its key it uses TLS.

python -m tests.bench.upstream [FILE]
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from tests.bench.http_server import Connection, answer, serve

TEXT = b'{"text": "' + b"x" * 1012 + b'"}'
DOCUMENT = answer(TEXT, b"application/json")
LAST_DOCUMENT = answer(TEXT, b"application/json", b"connection: close")
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
INTERVAL = 1.0  # seconds


def respond(connection: Connection, head: bytes, _: bytes) -> bytes | None:
    line = head.partition(b"\r\n")[0]
    if b"/once " in line:
        connection.transport.write(LAST_DOCUMENT)
        connection.transport.close()
        return None
    if b"/events " not in line:
        return DOCUMENT
    connection.transport.write(EVENTS)
    _next_event(connection.transport)
    return None


def _next_event(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write(EVENT)
        asyncio.get_running_loop().call_later(INTERVAL, _next_event, transport)


def _tls(file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


if __name__ == "__main__":
    serve(respond, _tls(sys.argv[1]) if sys.argv[1:] else None)
