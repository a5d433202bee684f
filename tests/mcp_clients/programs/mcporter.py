"""mcporter, a command line that calls tools of any MCP server: once for each call."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.mcp_clients import node
from tests.mcp_clients.client import CallFailed, Client
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.command import output

PROGRAM = node.MODULES / "mcporter/dist/cli.js"
SERVER = "demo"


class MCPorter(Client):
    """Keeps its tokens in files, and opens the browser during a call as well."""

    name = "mcporter"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.config: Path = place.home / "mcporter.json"
        servers = {SERVER: {"baseUrl": place.url, "auth": "oauth"}}
        self.config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")

    def available(self) -> str | None:
        return node.missing("mcporter")

    def sign_in(self) -> None:
        self._run("auth", SERVER)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        return self._run("call", f"{SERVER}.{tool}", "--args", json.dumps(arguments))

    def tools(self) -> str:
        return self._run("list", SERVER)

    def _run(self, *words: str) -> str:
        command = node.command(PROGRAM, "--config", self.config, *words)
        try:
            return output(self.place, command, cwd=self.place.home)
        except CallFailed as failure:
            lines = self.place.log.read_text(encoding="utf-8").splitlines()
            said = [line for line in lines if line.startswith("[mcporter]")]
            raise CallFailed(said[-1] if said else str(failure)) from None
