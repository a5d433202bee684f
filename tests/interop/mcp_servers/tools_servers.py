"""MCP servers of both lines of both SDKs, in JSON and in events; the gateway has rules for them."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from tests import ROOT
from tests.interop.mcp_servers.servers import NODE_FOLDER, node
from tests.support.processes import free_ports, running

PROGRAMS = ("python", "typescript")
LINES = ("first", "second")
PYTHON_SITE = ROOT / "tests/interop/mcp_servers/tools_site.py"
RARE = "search_rare"  # may be called once an hour
RULES = """
[[rule]]
action = "allow"
tools = ["whoami", "search_*"]

[[rule]]
action = "deny"
clients = ["unverified"]
tools = ["search_private"]
"""


class ToolsServer:
    """One server. The first line speaks 2025-11-25, with sessions; the second 2026-07-28."""

    def __init__(self, program: str, line: str, *, is_json: bool) -> None:
        self.program, self.line, self.is_json = program, line, is_json
        self.name = f"{program}_{line}_{'json' if is_json else 'events'}"
        (self.port,) = free_ports(1)

    def variables(self, folder: Path) -> dict[str, str]:
        """Return the gateway's variables for it, with a file of rules."""
        file = folder / "rules.toml"
        file.write_text(RULES, encoding="utf-8")
        named = f"UPSTREAM_{self.name.upper()}"
        return {
            f"{named}_URL": f"http://127.0.0.1:{self.port}/mcp",
            f"{named}_PROVIDER": "local",
            f"{named}_CLIENTS": "1",
            f"{named}_POLICY_FILE": str(file),
            f"{named}_RATE": f"{RARE}=1/h",
        }

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        options = {"port": self.port, "isJSON": self.is_json, "line": self.line}
        environment = {"PATH": os.environ["PATH"]}
        with running(
            self._command(json.dumps(options)), environment, folder / f"{self.name}.log", self.port
        ):
            yield

    def _command(self, options: str) -> list[str | Path]:
        if self.program == "typescript":
            return node(NODE_FOLDER / "tools_server.js", options)
        # The first line is in the environment of canaille, the second one in this one.
        first = os.environ.get("CANAILLE_PYTHON", "none")
        python = sys.executable if self.line == "second" else first
        assert Path(python).is_file(), "The SDK is not installed: run `make interop`."
        return [python, PYTHON_SITE, options]


def tools_servers() -> list[ToolsServer]:
    """Return one of each kind."""
    kinds = product(PROGRAMS, LINES, (True, False))
    return [ToolsServer(program, line, is_json=is_json) for program, line, is_json in kinds]
