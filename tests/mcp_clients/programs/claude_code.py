"""Claude Code: `claude mcp add` and `claude mcp login`, then `claude -p`.

It asks a model for what to do: a scripted one, since a real one wants an account.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from threading import Timer
from typing import Any

from tests.mcp_clients import node
from tests.mcp_clients.client import PATIENCE, CallFailed, Client
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.scripted_model import ToolCall, serving

PROGRAM = node.MODULES / "@anthropic-ai/claude-code/cli-wrapper.cjs"
SERVER = "gateway-demo"  # as the line has it that `make run` prints
PREFIX = f"mcp__{SERVER}__"  # of its tools
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
SESSION = ("--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
LOST = ("No such tool available", "is not connected")
CONNECTS_WITHIN = 60  # seconds in which an open session connects again by itself


class ClaudeCode(Client):
    """Begins anew for each call."""

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
            return self._run(*words, variables=asking(model))

    def _run(self, *words: str, variables: Mapping[str, str] | None = None, **options: Any) -> str:
        known = QUIET | dict(variables or {})
        return output(self.place, words, known, cwd=self.place.home, **options)


class ClaudeCodeSession(ClaudeCode):
    """One session, from call to call; who is told to sign in does, and begins another one."""

    name = "Claude Code, one session"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._open = ExitStack()
        self._process: subprocess.Popen[str]

    def sign_in(self) -> None:
        super().sign_in()
        self.close()
        model = self._open.enter_context(serving())
        self._process = self._open.enter_context(
            subprocess.Popen(
                command("-p", *SESSION, "--allowedTools", f"mcp__{SERVER}"),
                env=self.place.environment | QUIET | asking(model),
                cwd=self.place.home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._open.callback(self._process.kill)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Call, and once more where the session has yet to connect again: it does so by itself."""
        deadline = time.monotonic() + CONNECTS_WITHIN
        while True:
            said = self._turn(ToolCall(PREFIX + tool, arguments).prompt)
            if not any(lost in said for lost in LOST) or time.monotonic() > deadline:
                return said
            time.sleep(1)

    def close(self) -> None:
        self._open.close()

    def _turn(self, prompt: str) -> str:
        """Type a prompt; return what is said at the end of this turn."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watch = Timer(PATIENCE, self._process.kill)
        watch.start()
        try:
            message = {"role": "user", "content": prompt}
            print(
                json.dumps({"type": "user", "message": message}),
                file=self._process.stdin,
                flush=True,
            )
            for line in self._process.stdout:
                told = json.loads(line)
                if told["type"] == "result":
                    return str(told.get("result"))
        except BrokenPipeError:
            pass
        finally:
            watch.cancel()
        raise CallFailed("The session has ended.")


def asking(model: str) -> dict[str, str]:
    """Return the variables by which Claude Code asks this model."""
    return {"ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "none"}


def command(*arguments: str) -> list[str]:
    return [str(word) for word in node.command(PROGRAM, *arguments)]
