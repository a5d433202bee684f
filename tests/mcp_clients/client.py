"""The harness's interface to a client.

To add one: a class in `programs/`, listed in `programs/__init__.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.mcp_clients.place import Place

LIST = ""  # for a call of no tool, which many response with the names of all of them
TIMEOUT = 150  # seconds for a sign-in or a call, with the person's consent in it


class CallFailed(Exception):
    """The client gave no tool's response; the message is what it said instead."""


class Client(ABC):
    """One MCP client, driven as its user would: by its commands, from its own folder."""

    name: ClassVar[str]

    def __init__(self, place: Place) -> None:
        self.place = place

    def available(self) -> str | None:
        """Return why the client cannot run here; None where it can."""
        return None

    @abstractmethod
    def sign_in(self) -> None:
        """Sign in, from whatever there is; the person consents meanwhile. Raises CallFailed."""

    @abstractmethod
    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Return the text of a tool's response. Raises CallFailed, and is never stuck.

        It may open the browser, if that is what the client does: the harness counts.
        """

    def tools(self) -> str:
        """Return a text with the name of each tool that the client has found. Raises CallFailed."""
        return self.call(LIST, {})

    def close(self) -> None:  # noqa: B027 -- most have nothing to end
        """End what still runs, if the client is a process that stays."""
