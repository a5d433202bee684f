"""Upstreams that people connect, by environment."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site.rules.upstream import Upstream, read_mcp_servers, read_upstreams
from tests.gateway_site.support.loading import production
from tests.support.cases import each_case

URL = "https://mcp.example.com/mcp"


def environment(**variables: str) -> dict[str, str]:
    return {f"UPSTREAM_NOTES_{name}": value for name, value in ({"MCP": URL} | variables).items()}


def server(**variables: str) -> dict[str, Any]:
    given = environment(**variables)
    assert list(read_upstreams(given)) == ["notes"]
    return read_mcp_servers(given)["notes"]


def upstream(**variables: str) -> Upstream:
    return read_upstreams(environment(**variables))["notes"]


def test_one_variable_declares_an_upstream_and_a_server_of_the_same_name() -> None:
    found = upstream()
    assert (found.origin, found.prefix) == ("https://mcp.example.com", "/mcp")
    assert (found.provider, found.mcp) == ("notes", True)
    assert server() == {"url": URL}


def test_settings_hold_the_servers_and_every_upstreams_origin() -> None:
    other = {"UPSTREAM_API_URL": "https://api.example.com/v1", "UPSTREAM_API_PROVIDER": "corp"}
    loaded = production(**environment(), **other)
    assert loaded["OAUTH_MCP_SERVERS"] == {"notes": {"url": URL}}
    assert loaded["OAUTH_UPSTREAM_ORIGINS"] == [
        "https://api.example.com", "https://mcp.example.com",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "url"),
    [
        ("https://MCP.example.com:443/Mcp", "https://mcp.example.com/Mcp"),
        ("https://mcp.example.com", "https://mcp.example.com"),
        ("https://mcp.example.com/", "https://mcp.example.com/"),
        ("https://mcp.example.com/mcp/", "https://mcp.example.com/mcp/"),
        ("http://127.0.0.1:8003/mcp", "http://127.0.0.1:8003/mcp"),
    ],
)
def test_address_keeps_its_path_as_declared(declared: str, url: str) -> None:
    assert server(MCP=declared)["url"] == url


def test_what_the_operator_sets_is_passed_on() -> None:
    assert server(
        CLIENT_ID="id", CLIENT_SECRET="s", SCOPES="a, b c", ISSUER="https://as.example.com/T/"
    ) == {
        "url": URL, "client_id": "id", "client_secret": "s", "scopes": ("a", "b", "c"),
        "issuer": "https://as.example.com/T/",
    }  # fmt: skip


def test_plain_http_includes_private_addresses_as_for_a_provider() -> None:
    private = {"url": URL, "allow_private": True}
    assert server(ALLOW_PRIVATE="1") == private
    assert server(ALLOW_HTTP="1") == private | {"allow_http": True}
    with pytest.raises(ImproperlyConfigured, match="NOTES_ALLOW_HTTP leads to private networks"):
        server(ALLOW_HTTP="1", ALLOW_PRIVATE="0")


def test_an_upstreams_limits_and_headers_apply_too() -> None:
    found = upstream(CLIENTS="1", MAX_BODY="5", METHODS="POST", REQUEST_HEADERS="x-one")
    assert (found.clients, found.max_body, found.methods) == (True, 5, frozenset({"POST"}))


@each_case(
    ("variables", "message"),
    [
        ({"URL": "https://api.example.com"}, "NOTES_URL cannot be set beside UPSTREAM_NOTES_MCP"),
        ({"PROVIDER": "corp"}, "NOTES_PROVIDER cannot be set beside UPSTREAM_NOTES_MCP"),
        ({"RESOURCE": URL}, "NOTES_RESOURCE cannot be set beside UPSTREAM_NOTES_MCP"),
        ({"CLIENT_SECRET": "s"}, "NOTES_CLIENT_SECRET needs UPSTREAM_NOTES_CLIENT_ID"),
        ({"CLIENT_ID": "i", "CLIENT_SECRET": "s"}, "NOTES_CLIENT_SECRET needs UPSTREAM_NOTES_ISS"),
        ({"MCP": "http://mcp.example.com"}, "NOTES_MCP must be an https:// address"),
        ({"MCP": "https://mcp.example.com/mcp?x=1"}, "NOTES_MCP must be an https:// address"),
        ({"ISSUER": "https://as.example.com?x"}, "NOTES_ISSUER must be"),
        ({"ISSUER": "https://me@as.example.com"}, "NOTES_ISSUER must be"),
        ({"ISSUER": "as.example.com"}, "NOTES_ISSUER must be"),
        ({"ISSUER": "http://as.example.com"}, "NOTES_ISSUER must be"),
        ({"ID_JAG": "corp", "CLIENT_ID": "i"}, "NOTES_ID_JAG needs UPSTREAM_NOTES_ISSUER"),
        ({"SCOPES": 'a"b'}, "NOTES_SCOPES must be scopes"),
        ({"ALLOW_PRIVATE": "10.0.0.0/8"}, "NOTES_ALLOW_PRIVATE must be"),
    ],
)
def test_contradiction_is_an_error_that_names_the_variable(
    variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        upstream(**variables)


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("CLIENT_ID", "1"),
        ("SCOPES", "1"),
        ("ISSUER", "1"),
        ("ALLOW_PRIVATE", "1"),
        ("REVOCATION", "last"),
        ("ID_JAG", "corp"),
    ],
)
def test_variables_of_a_server_are_rejected_at_another_upstream(suffix: str, value: str) -> None:
    given = {"URL": "https://api.example.com", "PROVIDER": "corp", suffix: value}
    with pytest.raises(
        ImproperlyConfigured, match=f"API_{suffix} has no effect: UPSTREAM_API_MCP is not set"
    ):
        read_upstreams({f"UPSTREAM_API_{name}": value for name, value in given.items()})


def test_name_of_a_provider_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match="UPSTREAM_CORP_MCP: choose another name"):
        production(UPSTREAM_CORP_MCP=URL)


def test_another_upstreams_name_may_end_in_the_same_word() -> None:
    other = {"UPSTREAM_NOTES_MCP_URL": "https://a.example", "UPSTREAM_NOTES_MCP_PROVIDER": "corp"}
    assert sorted(read_upstreams(environment() | other)) == ["notes", "notes_mcp"]


def test_variable_that_reads_messages_declares_no_server() -> None:
    """`UPSTREAM_NOTES_READ_MCP` might be the address of an upstream `notes_read`."""
    assert upstream(READ_MCP="1").read_mcp
    assert server(READ_MCP="1") == {"url": URL}
    assert not upstream().read_mcp


VOUCHED = {"ISSUER": "https://as.example.com", "ID_JAG": "CORP"}


def test_provider_vouches_with_a_client_id_that_it_can_know() -> None:
    public = {"PUBLIC_URL": "https://gateway.example.com"}
    loaded = production(**environment(**VOUCHED, CLIENT_ID="ours", CLIENTS="1"), **public)
    assert loaded["OAUTH_MCP_SERVERS"]["notes"]["id_jag"] == "corp"
    assert loaded["AUTHORIZATION_SERVER"].upstreams["notes"] == "corp"  # where people consent
    described = production(**environment(**VOUCHED), **public, CONNECT_DOCUMENTS="1")
    assert described["UPSTREAMS"]["notes"].id_jag == "corp"
    with pytest.raises(ImproperlyConfigured, match="ID_JAG needs UPSTREAM_NOTES_CLIENT_ID, or CON"):
        production(**environment(**VOUCHED))


def test_provider_that_issues_no_id_tokens_vouches_for_nobody() -> None:
    github = {"OAUTH_GITHUB_CLIENT_ID": "id", "OAUTH_GITHUB_CLIENT_SECRET": "secret"}
    for name in ("github", "other"):
        given = environment(**VOUCHED | {"ID_JAG": name}, CLIENT_ID="ours")
        with pytest.raises(ImproperlyConfigured, match="NOTES_ID_JAG must name one of the prov"):
            production(**given, **github)
