"""Claude Code: `claude mcp add` and `claude mcp login`, then `claude -p` for each call."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from tests.mcp_clients import node
from tests.mcp_clients.client import Client
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.scripted_model import ToolCall, wanting

PROGRAM = node.MODULES / "@anthropic-ai/claude-code/cli-wrapper.cjs"
SERVER = "gateway-demo"  # as the line has it that `make run` prints
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}


class ClaudeCode(Client):
    """Asks a model for what to do: a scripted one, since a real one wants an account."""

    name = "Claude Code"

    def available(self) -> str | None:
        return node.missing("@anthropic-ai/claude-code") or node.unable(PROGRAM)

    def sign_in(self) -> None:
        """Add the server, the first time, and sign in as one does at a terminal."""
        if not (self.place.home / ".claude.json").exists():
            self._run(*command("mcp", "add", "--transport", "http", SERVER, self.place.url))
        nobody, held = os.pipe()  # who sits there types nothing, and does not hang up
        try:
            login = shlex.join(command("mcp", "login", SERVER))
            self._run("script", "-qec", login, "/dev/null", stdin=nobody)
        finally:
            os.close(nobody)
            os.close(held)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        name = f"mcp__{SERVER}__{tool}"
        with wanting(ToolCall(name, arguments)) as model:
            variables = {"ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "none"}
            words = command("-p", "Call the tool.", "--allowedTools", name)
            return self._run(*words, variables=variables)

    def _run(self, *words: str, variables: Mapping[str, str] | None = None, **options: Any) -> str:
        known = QUIET | dict(variables or {})
        return output(self.place, words, known, cwd=self.place.home, **options)


def command(*arguments: str) -> list[str]:
    return [str(word) for word in node.command(PROGRAM, *arguments)]
