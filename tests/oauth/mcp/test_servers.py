"""The setting with the connected MCP servers."""

from __future__ import annotations

from pytest_django import Settings

from oauth.mcp.servers import McpServer, all_servers, find_server


def test_servers_follow_the_setting(settings: Settings) -> None:
    settings.OAUTH_MCP_SERVERS = {"notes_eu": {"url": "https://mcp.example.com/mcp"}}
    expected = McpServer(name="notes_eu", url="https://mcp.example.com/mcp", label="Notes Eu")
    assert find_server("notes_eu") == expected
    assert all_servers() == [expected]
    assert expected.origin == "https://mcp.example.com"
    settings.OAUTH_MCP_SERVERS = {}
    assert find_server("notes_eu") is None


def test_secret_is_not_in_the_repr(settings: Settings) -> None:
    members = {"url": "https://mcp.example.com", "client_id": "id", "client_secret": "hush"}
    settings.OAUTH_MCP_SERVERS = {"notes": members | {"scopes": ["a"]}}
    found = find_server("notes")
    assert found is not None
    assert (found.client_secret, found.scopes) == ("hush", ("a",))
    assert "hush" not in repr(found)
