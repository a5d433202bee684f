"""What decides about a call whose message was read, and about the messages of its response."""

from dataclasses import dataclass, replace
from typing import Protocol

from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class MCPCaller:
    """Who calls: a user's id, and their groups at the upstream's provider.

    `is_client` tells whether an OAuth client calls for them.
    """

    person: str
    groups: tuple[str, ...]
    is_client: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MCPCall:
    """One call: POST with a message, or GET or DELETE without one.

    `version` is the protocol's, from the headers or the message; None if neither names it, as in
    versions before 2025-06-18.
    """

    upstream: str
    http_method: str
    version: str | None
    message: Message | None
    caller: MCPCaller

    def without_content(self) -> "MCPCall":
        """Return it without the content of its message, for as long as its response streams."""
        message = None if self.message is None else self.message.without_content()
        return replace(self, message=message)


class Policy(Protocol):
    """The rules of an upstream. Neither method may wait; `rewrite` may be called in a thread.

    `accepts_old_transport` tells whether streams of the transport of 2024-11-05 pass: its responses
    do not come with the calls.
    """

    accepts_old_transport: bool

    def admit(self, call: MCPCall) -> None:
        """Let a call pass to the upstream. Raises `Problem`."""

    def rewrite(self, call: MCPCall, response: Message) -> JSONObject | None:
        """Return what replaces the `result` of a response; None to pass it on byte for byte.

        A resumed stream (GET) has results of earlier calls, so a list is known by its members, not
        by the call, of whose message only the content is missing here.
        """


class PassAll:
    """The policy of an upstream without rules."""

    accepts_old_transport = True

    def admit(self, call: MCPCall) -> None:
        """Let every call pass."""

    def rewrite(self, call: MCPCall, response: Message) -> JSONObject | None:
        """Leave every message as it is."""
        return None
