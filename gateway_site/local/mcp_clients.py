"""What to paste into MCP clients: an address enters, and lines for a terminal leave."""

from gateway_site.rules.mcp_clients import claude_code, codex, vs_code

NAME = "gateway-demo"  # under which a client shows the server


def lines(url: str) -> list[str]:
    """Return one line a client: the example, Claude Code, Codex and VS Code."""
    return [
        f".venv/bin/python examples/mcp_client.py {url}",
        *(line(NAME, url) for line in (claude_code, codex, vs_code)),
    ]
