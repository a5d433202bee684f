"""Codex, OpenAI's command line: `codex mcp add`, then `codex exec` for each call."""

from collections.abc import Mapping
from typing import Any

from tests.mcp_clients import node
from tests.mcp_clients.client import TIMEOUT, Client
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.scripted_model import ToolCall, serving

PROGRAM = node.MODULES / "@openai/codex/bin/codex.js"
SERVER = "gateway-demo"  # as the line has it that `make run` prints
NAMESPACE = "mcp__gateway_demo"  # what Codex makes of it


class Codex(Client):
    """Asks a model for what to do: a scripted one, since a real one wants an account."""

    name = "Codex"

    def available(self) -> str | None:
        return node.missing("@openai/codex") or node.unable(PROGRAM)

    def sign_in(self) -> None:
        """Add the server, which signs in at once; from then on `login` is what Codex asks for."""
        if (self.place.home / ".codex" / "config.toml").exists():
            self._run("mcp", "login", SERVER)
        else:
            self._run("mcp", "add", SERVER, "--url", self.place.url)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        prompt = ToolCall(tool, arguments, NAMESPACE).prompt
        with serving() as model:
            provider = f'{{name="scripted", base_url="{model}/v1", wire_api="responses"}}'
            settings = (
                'model_provider="scripted"',
                'model="scripted"',
                f"model_providers.scripted={provider}",
                f"mcp_servers.{SERVER}.required=true",  # else it begins without, on a busy machine
                f"mcp_servers.{SERVER}.startup_timeout_sec={TIMEOUT // 2}",
                f'mcp_servers.{SERVER}.default_tools_approval_mode="approve"',
            )
            options = [word for setting in settings for word in ("-c", setting)]
            return self._run("exec", "--skip-git-repo-check", *options, prompt)

    def _run(self, *arguments: str) -> str:
        return output(self.place, node.command(PROGRAM, *arguments), cwd=self.place.home)
