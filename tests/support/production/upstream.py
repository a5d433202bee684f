"""An upstream: one kilobyte of JSON, a tool's result under `/mcp`, or events under `/events`."""

import asyncio

from tests.support.production.http_server import Connection, make_response, serve

TEXT = b'{"text": "' + b"x" * 1012 + b'"}'
DOCUMENT = make_response(TEXT, b"application/json")
CONTENT = b'{"content":[{"type":"text","text":"' + b"x" * 960 + b'"}]}'
RESULT = make_response(b'{"jsonrpc":"2.0","id":1,"result":' + CONTENT + b"}", b"application/json")
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
INTERVAL = 1.0  # seconds


def respond(connection: Connection, head: bytes, _: bytes) -> bytes | None:
    line = head.partition(b"\r\n")[0]
    if b"/events " not in line:
        return RESULT if b"/mcp " in line else DOCUMENT
    connection.transport.write(EVENTS)
    _next_event(connection.transport)
    return None


def _next_event(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write(EVENT)
        asyncio.get_running_loop().call_later(INTERVAL, _next_event, transport)


if __name__ == "__main__":
    serve(respond)
