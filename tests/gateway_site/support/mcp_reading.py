"""Messages of MCP, read in this process as a call passes them on."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlencode

from gateway_site.edge.client import Client
from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.calls.event_stream import UpstreamResponse
from gateway_site.forwarding.calls.mcp.reader import MCPReader
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.mcp.policy import Policy
from gateway_site.rules.body import RequestBody
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.failures import ReadError, UpstreamFailed
from gateway_site.transport.pool import Owner
from tests.gateway_site.support.declared_upstreams import read_api

NEW = "2026-07-28"

JSON = {"Content-Type": "application/json"}


def response_path(
    body: bytes, kind: str = "application/json", *, status: int = 200, **headers: str
) -> str:
    """Return the path of an upstream that answers so."""
    pairs = [["content-type", kind], *([n.replace("_", "-"), v] for n, v in headers.items())]
    query = {"status": status, "body": body.decode("latin-1"), "headers": json.dumps(pairs)}
    return "read/answer?" + urlencode(query)


class Pieces:
    """A response that arrives in pieces; a connection that breaks off after them has no end."""

    def __init__(self, pieces: list[bytes], kind: str, *, breaks: bool = False) -> None:
        self.status = 200
        self.headers = [(b"content-type", kind.encode()), (b"content-length", b"9")]
        self.pieces = pieces
        self.breaks = breaks

    @property
    def is_complete(self) -> bool:
        return False

    @property
    def has_ended(self) -> bool:
        return not self.pieces and not self.breaks

    def read_rest(self) -> bytes:
        return b""

    async def read_piece(self, seconds: float) -> bytes:
        if self.breaks and not self.pieces:
            raise ReadError
        return self.pieces.pop(0) if self.pieces else b""

    def wake(self) -> None:
        self.pieces.insert(0, b"")

    def close(self) -> None: ...


async def read_call(
    policy: Policy,
    message: dict[str, Any] | None,
    upstream: Upstream | None = None,
    groups: Sequence[str] = ("staff",),
) -> MCPReader:
    """Return the reader of an admitted call."""
    data = json.dumps(message).encode() if message else b""
    framing = [(b"content-length", b"%d" % len(data))] if data else []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    headers = [(b"content-type", b"application/json")] if data else []
    call = UpstreamCall(
        request=cast("Any", None),
        caller=Caller(cast("Any", None)),
        owner=Owner(cast("Any", "holder"), "7"),
        upstream=upstream or read_api(READ_MCP="1"),
        method="POST" if data else "GET",
        target="",
        headers=headers,
        framing=framing,
    )
    client = Client({"headers": headers}, receive)
    reader = MCPReader(call, RequestBody(client, framing, 1 << 20), policy)
    await reader.receive()
    reader.admit(tuple(groups))
    return reader


def request_message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def read_to_end(reader: MCPReader, response: Pieces) -> tuple[bytes, bool]:
    """Return what the client gets, and whether it takes it for complete."""
    read: UpstreamResponse = await reader.read_response(response)
    found = b""
    with suppress(UpstreamFailed):
        while not read.has_ended:
            found += await read.read_piece(1)
        return found, True
    return found, False
