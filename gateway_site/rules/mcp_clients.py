"""The commands and settings with which people connect MCP clients to an upstream.

Takes the name under which a client shows the server, and the server's URL; returns text. The lines
are those of docs/mcp.md, which describes each client.
"""

import json
import shlex
from dataclasses import dataclass

from django.utils.translation import gettext as _


@dataclass(frozen=True)
class ClientSetup:
    """What to paste for one client, and where."""

    client: str
    place: str
    text: str


def claude_code(name: str, url: str) -> str:
    """Return the line that adds a server and signs in."""
    return f"claude mcp add --transport http {name} {url} && claude mcp login {name}"


def codex(name: str, url: str) -> str:
    """Return the line that adds a server, which signs in as well."""
    return f"codex mcp add {name} --url {url}"


def vs_code(name: str, url: str) -> str:
    """Return the line that adds a server to the person's own settings."""
    server = json.dumps({"name": name, "type": "http", "url": url})
    return f"code --add-mcp {shlex.quote(server)}"


def cursor(name: str, url: str) -> str:
    """Return what the file has."""
    return json.dumps({"mcpServers": {name: {"url": url}}}, indent=2)


def client_setups(name: str, url: str) -> list[ClientSetup]:
    """Return the setup of each client."""
    in_terminal = _("Run this in a terminal:")
    return [
        ClientSetup("Claude Code", in_terminal, claude_code(name, url)),
        ClientSetup("Codex", in_terminal, codex(name, url)),
        ClientSetup("VS Code", in_terminal, vs_code(name, url)),
        ClientSetup("Cursor", _("Put this in the file ~/.cursor/mcp.json:"), cursor(name, url)),
    ]
