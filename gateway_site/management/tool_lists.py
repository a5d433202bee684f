"""The tools that an MCP server lists, asked for in each version of the protocol that it speaks.

Some servers describe a tool differently in another version, and clients of both may call through
the gateway. Requests go over the connections that calls use, with their TLS and without redirects.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from gateway_site.mcp.events import EVENT_MAX, EventReader, UnreadableEvent
from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import PROTOCOL_VERSION, InvalidMessage, Message, read_message
from gateway_site.mcp.version_headers import STATELESS_SINCE, VERSION
from gateway_site.policy.pinned_tools import TOOLS_MAX
from gateway_site.policy.subjects import TOOLS
from gateway_site.rules.headers import Headers, single_value
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import upstream_client
from gateway_site.transport.connection import Response
from gateway_site.transport.failures import UpstreamFailed
from gateway_site.transport.messages import build_request
from gateway_site.transport.places import Busy
from gateway_site.transport.pool import Owner

WITH_SESSIONS = "2025-11-25"  # the last version that begins with `initialize`
TOTAL_TIMEOUT = 60.0  # seconds for all requests together
_CHECK = "Check the upstream's address, DNS, the firewall and HTTPS_PROXY on this machine."
PAGES_MAX = 100
SIZE_MAX = 16 * 1024 * 1024  # bytes of all responses together
CLIENT_INFO = {"name": "django-gateway", "version": "1"}
ME = Owner("pin_tools", "pin_tools")
NEXT, LIST, SESSION = "nextCursor", "tools/list", b"mcp-session-id"
HEADERS: Headers = [
    (b"accept", b"application/json, text/event-stream"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"django-gateway"),
]


class NoToolList(Exception):
    """The server cannot be asked, or its response not be read. The text repeats none of it."""


class _Rejected(NoToolList):
    """The server answered with an error, as it does to a version that it does not speak."""


@dataclass(frozen=True)
class ListedTools:
    """All tools of a server, as they were sent in one version of the protocol."""

    version: str
    tools: list[JSONObject]


def list_tools(upstream: Upstream, url: str, token: str | None) -> list[ListedTools]:
    """Return the tools in each version that the server speaks. Raises NoToolList."""
    __traceback_hide__ = True
    return asyncio.run(_list_in_time(upstream, url, token))


async def _list_in_time(upstream: Upstream, url: str, token: str | None) -> list[ListedTools]:
    __traceback_hide__ = True
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT):
            return await _list_in_versions(_Client(upstream, url, token))
    except TimeoutError:
        raise NoToolList(f"The server did not answer in time. {_CHECK}") from None
    except (UpstreamFailed, Busy) as error:
        name = type(error).__name__
        raise NoToolList(
            f"The server cannot be reached, or its response not be read ({name}). {_CHECK}"
        ) from None
    finally:
        await upstream_client.close()


async def _list_in_versions(client: "_Client") -> list[ListedTools]:
    __traceback_hide__ = True
    found: list[ListedTools] = []
    rejected: list[str] = []
    for version, listing in ((STATELESS_SINCE, _list_now), (WITH_SESSIONS, _list_in_session)):
        try:
            found.append(await listing(client))
        except _Rejected as error:
            rejected.append(f"{version}: {error}")
    if not found:
        raise NoToolList("The server lists no tools. " + " ".join(rejected))
    return found


async def _list_now(client: "_Client") -> ListedTools:
    """List tools as from 2026-07-28."""
    meta = {
        PROTOCOL_VERSION: STATELESS_SINCE,
        "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    client.headers = [*_version_header(STATELESS_SINCE), (b"mcp-method", LIST.encode("ascii"))]
    return ListedTools(STATELESS_SINCE, await _list_pages(client, {"_meta": meta}))


async def _list_in_session(client: "_Client") -> ListedTools:
    """List tools as until 2025-11-25."""
    client.headers = []
    params = {"protocolVersion": WITH_SESSIONS, "capabilities": {}, "clientInfo": CLIENT_INFO}
    begun = await client.request("initialize", params)
    version = begun.result.get("protocolVersion")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise NoToolList("The server names no version of the protocol.")
    client.headers = _version_header(version)
    if client.session is not None:
        client.headers.append((SESSION, client.session))
    await client.notify("notifications/initialized")
    tools = await _list_pages(client, {})
    if client.session is not None:
        await client.end_session()
    return ListedTools(version, tools)


async def _list_pages(client: "_Client", params: Mapping[str, Any]) -> list[JSONObject]:
    tools: list[JSONObject] = []
    cursor: dict[str, str] = {}
    for _ in range(PAGES_MAX):
        page = (await client.request(LIST, {**params, **cursor})).result
        listed = page.get(TOOLS)
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise NoToolList("The server's response has no list of tools.")
        tools += listed
        if len(tools) > TOOLS_MAX:
            raise NoToolList(f"The server lists more than {TOOLS_MAX} tools.")
        following = page.get(NEXT)
        if following is None:
            return tools
        if not isinstance(following, str):
            raise NoToolList("The server names no next page.")
        cursor = {"cursor": following}
    raise NoToolList(f"The server's list has more than {PAGES_MAX} pages.")


def _version_header(version: str) -> Headers:
    return [(b"mcp-protocol-version", version.encode("ascii"))]


class _Client:
    """Sends messages to one server, one after another. Adds `headers` to each."""

    def __init__(self, upstream: Upstream, url: str, token: str | None) -> None:
        self.headers: Headers = []
        self.session: bytes | None = None
        self._upstream = upstream
        self._url = url
        self._token = token
        self._number = 0
        self._size = 0

    async def request(self, method: str, params: Mapping[str, Any]) -> Message:
        """Return the result of a request. Raises NoToolList and UpstreamFailed."""
        __traceback_hide__ = True
        self._number += 1
        response = await self._post({"id": self._number, "method": method, "params": params})
        try:
            _check_status(response)
            message = await self._read_response(response)
        finally:
            response.close()
        if message.is_error:
            raise _Rejected("The server answered with an error of JSON-RPC.")
        if not message.is_response or message.id != self._number:
            raise NoToolList("The server's response is that of another request.")
        self.session = single_value(response.headers, SESSION) or self.session
        return message

    async def notify(self, method: str) -> None:
        """Send a notification. Raises NoToolList and UpstreamFailed."""
        response = await self._post({"method": method})
        response.close()
        _check_status(response)

    async def end_session(self) -> None:
        """End the session; servers may not allow that."""
        (await self._send("DELETE", b"")).close()

    async def _post(self, members: Mapping[str, Any]) -> Response:
        return await self._send("POST", json.dumps({"jsonrpc": "2.0", **members}).encode("ascii"))

    async def _send(self, method: str, body: bytes) -> Response:
        __traceback_hide__ = True
        headers = [*HEADERS, *self.headers]
        if body:
            headers.append((b"content-length", str(len(body)).encode("ascii")))
        if self._token is not None:
            headers.append((b"authorization", f"Bearer {self._token}".encode("ascii")))
        request = build_request(self._upstream, method, self._url, headers, _pieces(body))
        return await upstream_client.send(ME, self._upstream, request)

    async def _read_response(self, response: Response) -> Message:
        """Return the response to the last request; what else a stream has is left out."""
        kind = (single_value(response.headers, b"content-type") or b"").partition(b";")[0].strip()
        if single_value(response.headers, b"content-encoding") not in {None, b"identity"}:
            raise NoToolList("The server's response has a content coding.")
        reader = EventReader() if kind == b"text/event-stream" else None
        content = bytearray()
        try:
            async with aclosing(self._pieces_of(response)) as pieces:
                async for piece in pieces:
                    if reader is None:
                        content += piece
                        continue
                    for data in _data_of(reader, piece):
                        message = read_message(data, EVENT_MAX)
                        if message.is_response and message.id == self._number:
                            return message
            if reader is None:
                return read_message(bytes(content), EVENT_MAX)
        except (InvalidMessage, UnreadableEvent):
            raise NoToolList("The server's response is no readable message of MCP.") from None
        raise NoToolList("The server's stream ended without a response.")

    async def _pieces_of(self, response: Response) -> AsyncGenerator[bytes, None]:
        while not response.has_ended:
            piece = await response.read_piece(self._upstream.read_timeout)
            self._size += len(piece)
            if self._size > SIZE_MAX:
                raise NoToolList(f"The server's responses have more than {SIZE_MAX} bytes.")
            yield piece


def _data_of(reader: EventReader, piece: bytes) -> Iterator[bytes]:
    """Yield the data of the events that a piece completes, without those that have none."""
    for found in reader.feed(piece):
        if not isinstance(found, bytes) and found.data.strip():
            yield found.data


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _check_status(response: Response) -> None:
    """Raise NoToolList unless the server has accepted a message."""
    status = response.status
    if status in {401, 403}:
        raise NoToolList(f"The server answered {status}: the token is missing, or not accepted.")
    if 300 <= status < 400:
        raise NoToolList(f"The server answered {status}, a redirect, which is not followed.")
    if status not in {200, 202}:
        raise _Rejected(f"The server answered {status}.")
