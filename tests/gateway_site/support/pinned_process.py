"""A process with pinned tools, and what it has seen."""

import json
from typing import Any

from gateway_site.mcp import json_text
from gateway_site.mcp.errors import RPCProblem
from gateway_site.mcp.messages import Message, read_message
from gateway_site.mcp.policy import MCPCall, MCPCaller, PassAll, Policy
from gateway_site.policy.pin_policy import PinPolicy, SeenTools
from gateway_site.policy.pinned_tools import PinnedTools

OLD, NEW = "2025-11-25", "2026-07-28"

PASS_ALL = PassAll()


def pinned_tool(name: Any, description: str = "as pinned") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"maximum": 1.50}}


def parse(value: Any) -> Any:
    return json_text.parse(json.dumps(value).encode())


def pin_tools(*tools: dict[str, Any]) -> PinnedTools:
    return PinnedTools(tuple(parse(each) for each in tools), "f" * 64)


PINNED = pin_tools(pinned_tool("a"), pinned_tool("b"))


class Process:
    """What a process has seen of one upstream, and the calls that it handles."""

    def __init__(self, pins: PinnedTools = PINNED, other: Policy = PASS_ALL) -> None:
        self.pins = pins
        self.other = other
        self.seen = SeenTools("notes")

    def call(
        self, method: str, *, version: str = OLD, groups: tuple[str, ...] = (), **params: Any
    ) -> tuple[PinPolicy, MCPCall]:
        sent = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        policy = PinPolicy(self.other, self.pins, self.seen)
        call = MCPCall(
            upstream="notes",
            http_method="POST",
            version=version,
            message=read_message(json.dumps(sent).encode()),
            caller=MCPCaller(person="1", groups=groups, is_client=False),
        )
        policy.admit(call)
        return policy, call.without_content()

    def lists(self, *tools: Any, **more: Any) -> Any:
        """Return what passes of a page."""
        policy, call = self.call("tools/list")
        result = {"tools": list(tools), **more}
        changed = policy.rewrite(call, Message(id=7, result=parse(result)))
        return result if changed is None else json.loads(json_text.write(changed))

    def names(self, *tools: Any) -> list[str]:
        return [each["name"] for each in self.lists(*tools)["tools"]]

    def may_call(self, name: str) -> bool:
        """Try it; a rejection looks like that of an unknown tool."""
        denied: RPCProblem | None = None
        try:
            self.call("tools/call", name=name)
        except RPCProblem as problem:
            denied = problem
        if denied is not None:
            assert (denied.status, denied.rpc_code, denied.code) == (200, -32602, "denied")
            assert (denied.detail, denied.request_id) == ("Unknown tool.", 7)
        return denied is None
