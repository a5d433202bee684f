"""The setting with the connected MCP servers."""

import pytest
from django.core.exceptions import ImproperlyConfigured
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
    more = {"issuer": "https://as.example.com", "scopes": ["a"]}
    settings.OAUTH_MCP_SERVERS = {"notes": members | more}
    found = find_server("notes")
    assert found is not None
    assert (found.client_secret, found.scopes) == ("hush", ("a",))
    assert "hush" not in repr(found)


def test_server_does_not_choose_who_gets_the_operators_secret(settings: Settings) -> None:
    members = {"url": "https://mcp.example.com", "client_id": "id", "client_secret": "hush"}
    settings.OAUTH_MCP_SERVERS = {"notes": members}
    with pytest.raises(ImproperlyConfigured, match="notes has a client_secret, so it needs an is"):
        all_servers()


def test_server_does_not_choose_where_a_provider_vouches_for_people(settings: Settings) -> None:
    members = {"url": "https://mcp.example.com", "client_id": "id", "id_jag": "corp"}
    settings.OAUTH_MCP_SERVERS = {"notes": members}
    with pytest.raises(ImproperlyConfigured, match="notes has an id_jag, so it needs an issuer"):
        all_servers()
    settings.OAUTH_MCP_SERVERS = {"notes": members | {"issuer": "https://as.example.com"}}
    with pytest.raises(ImproperlyConfigured, match="the id_jag of notes is no provider with"):
        all_servers()
