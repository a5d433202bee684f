"""Claude Code: `claude mcp add` and `claude mcp login`, then `claude -p`.

It asks a model for what to do: a scripted one, since a real one wants an account.
"""

import json
import os
import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tests.mcp_clients import node
from tests.mcp_clients.client import TIMEOUT, Client
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.programs.dialogue import Dialogue
from tests.mcp_clients.scripted_model import ToolCall, serving

PROGRAM = node.MODULES / "@anthropic-ai/claude-code/cli-wrapper.cjs"
SERVER = "gateway-demo"  # as the line has it that `make run` prints
PREFIX = f"mcp__{SERVER}__"  # of its tools
KNOWN = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "MCP_TIMEOUT": str(TIMEOUT * 500),  # milliseconds to connect in, on a busy machine
}
SESSION = ("--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
LOST = ("No such tool available", "is not connected")
CONNECTS_WITHIN = 60  # seconds in which an open session connects again by itself


class ClaudeCode(Client):
    """Starts a new process for each call."""

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
        prompt = ToolCall(PREFIX + tool, arguments).prompt
        with serving() as model:
            words = command("-p", prompt, "--allowedTools", PREFIX + tool)
            return self._run(*words, variables=settings_for(model))

    def _run(self, *words: str, variables: Mapping[str, str] | None = None, **options: Any) -> str:
        known = KNOWN | dict(variables or {})
        return output(self.place, words, known, cwd=self.place.home, **options)


class ClaudeCodeSession(ClaudeCode):
    """One session for all calls; after a required sign-in it starts another one."""

    name = "Claude Code, one session"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._models = ExitStack()
        self._dialogue = Dialogue()

    def sign_in(self) -> None:
        super().sign_in()
        self.close()
        model = self._models.enter_context(serving())
        known = self.place.environment | KNOWN | settings_for(model)
        words = command("-p", *SESSION, "--allowedTools", f"mcp__{SERVER}")
        self._dialogue.begin(words, known, self.place.home, self.place.log)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Call, and once more where the session has yet to connect again: it does so by itself."""
        message = {"role": "user", "content": ToolCall(PREFIX + tool, arguments).prompt}
        line = json.dumps({"type": "user", "message": message})
        deadline = time.monotonic() + CONNECTS_WITHIN
        while True:
            said = str(json.loads(self._dialogue.ask(line, ends_turn)).get("result"))
            if not any(lost in said for lost in LOST) or time.monotonic() > deadline:
                return said
            time.sleep(1)

    def close(self) -> None:
        self._dialogue.end()
        self._models.close()


def ends_turn(line: str) -> bool:
    return bool(json.loads(line)["type"] == "result")


def settings_for(model: str) -> dict[str, str]:
    """Return the variables by which Claude Code asks this model."""
    return {"ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "none"}


def command(*arguments: str) -> list[str]:
    return [str(word) for word in node.command(PROGRAM, *arguments)]
