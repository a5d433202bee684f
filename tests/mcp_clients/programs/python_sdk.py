"""The official SDK for Python, as `gateway_site.local.mcp_client` uses it, in both of its modes."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.mcp_clients.client import Client
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.programs.session import Session


class PythonSDK(Client):
    """Finds out which protocol the server speaks."""

    name = "Python SDK"
    options: ClassVar[tuple[str, ...]] = ()

    def sign_in(self) -> None:
        self._run("--list")

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        return self._run("--tool", tool, "--arguments", json.dumps(arguments))

    def tools(self) -> str:
        return self._run("--list")

    def _run(self, *options: str) -> str:
        program = [sys.executable, "-m", "gateway_site.local.mcp_client", self.place.url]
        return output(self.place, [*program, *self.options, *options])


class LegacyPythonSDK(PythonSDK):
    """Speaks the protocol from before 2026-07-28, with a handshake."""

    name = "Python SDK, legacy"
    options: ClassVar[tuple[str, ...]] = ("--legacy",)


class PythonSession(Session):
    """Keeps one session open, as an agent does that runs for days."""

    name = "Python SDK, one session"

    options: ClassVar[tuple[str, ...]] = ()

    def program(self) -> list[str | Path]:
        module = "tests.mcp_clients.programs.python_session"
        return [sys.executable, "-m", module, self.place.url, *self.options]


class LegacyPythonSession(PythonSession):
    """The same in the protocol from before 2026-07-28."""

    name = "Python SDK, legacy, one session"
    options: ClassVar[tuple[str, ...]] = ("legacy",)
