"""fastmcp's client, by its command and by its class; the variable FASTMCP names the command."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.mcp_clients.client import Client
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.programs.session import Session

PROGRAM = Path(__file__).with_name("fastmcp_session.py")


class FastMCP(Client):
    """Keeps what it was given in files, under a key without which it keeps nothing."""

    name = "fastmcp"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.variables = {
            "FASTMCP_HOME": str(place.home / "fastmcp"),
            "FASTMCP_OAUTH_ENCRYPTION_KEY": urlsafe_b64encode(os.urandom(32)).decode(),
        }

    def available(self) -> str | None:
        return missing()

    def sign_in(self) -> None:
        self.call("whoami", {})

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        return self._run("call", tool, "--input-json", json.dumps(arguments))

    def tools(self) -> str:
        return self._run("list")

    def _run(self, what: str, *options: str) -> str:
        given = [*options, "--auth", "oauth", "--json"]
        return output(
            self.place, [os.environ["FASTMCP"], what, self.place.url, *given], self.variables
        )


class FastMCPSession(Session):
    """Keeps one client open, and its tokens in memory, as fastmcp does by default."""

    name = "fastmcp, one session"

    def available(self) -> str | None:
        return missing()

    def program(self) -> list[str | Path]:
        """Return the command of the program, with the Python that fastmcp is installed for."""
        return [Path(os.environ["FASTMCP"]).with_name("python"), PROGRAM, self.place.url]


def missing() -> str | None:
    """Return why fastmcp cannot run here; None if it can."""
    command = Path(os.environ.get("FASTMCP", ""))
    return None if command.is_file() else "it is not installed: run `make mcp-clients`"
