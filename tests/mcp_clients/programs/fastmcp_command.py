"""fastmcp's client, by its command; the variable FASTMCP names it."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.mcp_clients.client import Client
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.command import output


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
        command = Path(os.environ.get("FASTMCP", ""))
        return None if command.is_file() else "it is not installed: run `make mcp-clients`"

    def sign_in(self) -> None:
        self.call("whoami", {})

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        given = ["--input-json", json.dumps(arguments), "--auth", "oauth", "--json"]
        command = [os.environ["FASTMCP"], "call", self.place.url, tool, *given]
        return output(self.place, command, self.variables)
