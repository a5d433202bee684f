"""`mcp-remote`, the bridge for clients that know only stdio: the SDK for Python talks to it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from anyio.from_thread import start_blocking_portal
from mcp import Client as SDKClient
from mcp import MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, ListToolsResult

from tests.mcp_clients import node
from tests.mcp_clients.client import TIMEOUT, CallFailed, Client
from tests.mcp_clients.place import Place

PROGRAM = node.MODULES / "mcp-remote/dist/proxy.js"


class MCPRemote(Client):
    """Stays open from call to call, as beneath a desktop application."""

    name = "mcp-remote"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._open = ExitStack()
        self._call: Callable[[str, dict[str, Any]], CallToolResult]
        self._list: Callable[[str | None], ListToolsResult]

    def available(self) -> str | None:
        return node.missing("mcp-remote")

    def sign_in(self) -> None:
        """Start it, or restart it as a user would after a failure."""
        self.close()
        try:
            self._start()
        except (MCPError, OSError, ExceptionGroup) as error:
            lines = self.place.log.read_text(encoding="utf-8").splitlines()
            said = [line for line in lines if "Error" in line]
            raise CallFailed(said[-1][:200] if said else str(error)) from None

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        try:
            response = self._call(tool, dict(arguments))
        except (MCPError, OSError) as error:
            raise CallFailed(str(error)) from None
        return "\n".join(getattr(content, "text", "") for content in response.content)

    def tools(self) -> str:
        names, cursor = [], None
        while True:
            page = self._list(cursor)
            names += [tool.name for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                return " ".join(names)

    def close(self) -> None:
        self._open.close()

    def _start(self) -> None:
        portal = self._open.enter_context(start_blocking_portal())
        log = self._open.enter_context(self.place.log.open("a", encoding="utf-8"))
        program = StdioServerParameters(
            command=str(node.binary()),
            args=[str(PROGRAM), self.place.url],
            env=self.place.environment,
        )
        sdk = SDKClient(stdio_client(program, errlog=log), read_timeout_seconds=TIMEOUT)
        opened = self._open.enter_context(portal.wrap_async_context_manager(sdk))
        self._call = partial(portal.call, opened.call_tool)
        self._list = lambda cursor: portal.call(partial(opened.list_tools, cursor=cursor))


class MCPRemoteAnew(MCPRemote):
    """Ends after each call: the next one has nothing but what lies in its files."""

    name = "mcp-remote, anew"

    def tools(self) -> str:
        self.sign_in()
        try:
            return super().tools()
        finally:
            self.close()

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        self.sign_in()
        try:
            return super().call(tool, arguments)
        finally:
            self.close()  # one that stays would open the browser by itself where its stream ends
