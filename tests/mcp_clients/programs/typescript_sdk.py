"""The official SDK for TypeScript, both of its lines, in the program `typescript_sdk.mjs`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.mcp_clients import node
from tests.mcp_clients.client import Client
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.programs.session import Session

PROGRAM = Path(__file__).with_suffix(".mjs")


class TypeScriptSDK(Client):
    """The second line: the package `client`, which finds out which protocol the server speaks."""

    name = "TypeScript SDK"
    package: ClassVar[str] = "client"

    def available(self) -> str | None:
        return node.missing(f"@modelcontextprotocol/{self.package}")

    def sign_in(self) -> None:
        self.call("whoami", {})

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        program = node.command(PROGRAM, self.package, self.place.url)
        return output(self.place, [*program, tool, json.dumps(arguments)])


class FirstTypeScriptSDK(TypeScriptSDK):
    """The first line, which most clients are built with: the package `sdk`."""

    name = "TypeScript SDK 1"
    package: ClassVar[str] = "sdk"


class TypeScriptSession(Session):
    """Keeps one session open, as an agent does that runs for days, with tokens bound to a key."""

    name = "TypeScript SDK, one session"
    package: ClassVar[str] = "client"

    def available(self) -> str | None:
        return node.missing(f"@modelcontextprotocol/{self.package}")

    def program(self) -> list[str | Path]:
        return node.command(PROGRAM, self.package, self.place.url)


class FirstTypeScriptSession(TypeScriptSession):
    """The same with the first line."""

    name = "TypeScript SDK 1, one session"
    package: ClassVar[str] = "sdk"
