"""What to paste into MCP clients: an address enters, and lines for a terminal leave."""

import json

NAME = "gateway-demo"  # under which a client shows the server


def lines(url: str) -> list[str]:
    """Return one line a client: the example, Claude Code, Codex and VS Code."""
    server = json.dumps({"name": NAME, "type": "http", "url": url})
    return [
        f".venv/bin/python examples/mcp_client.py {url}",
        f"claude mcp add --transport http {NAME} {url} && claude mcp login {NAME}",
        f"codex mcp add {NAME} --url {url}",  # which signs in as well
        f"code --add-mcp '{server}'",
    ]
