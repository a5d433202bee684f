"""An MCP server on the test's own internet."""

from tests.oauth.support.hostile_fixtures import internet
from tests.oauth.support.mcp_internet import is_elsewhere, world

__all__ = ["internet", "is_elsewhere", "world"]
