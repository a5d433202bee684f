"""How an MCP server's authorization server is found, when everybody is honest."""

from dataclasses import replace

import pytest

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.mcp.provider import Client, provider_of
from oauth.mcp.resource_metadata import covers
from oauth.mcp.servers import McpServer
from oauth.network.document_cache import FETCH_PAUSE
from oauth.provider.metadata import load_metadata
from tests.oauth.support.mcp_internet import (
    ISSUER,
    OPENID_PATH,
    RESOURCE_PATH,
    SERVER_PATH,
    URL,
    WITH_PATH,
    World,
    document,
)
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case


def test_everything_follows_from_the_address(world: World) -> None:
    found = world.look()
    assert (found.issuer, found.resource, found.scopes) == (ISSUER, URL, ())
    assert found.metadata.registration_endpoint == f"{ISSUER}/register"
    assert (found.metadata.iss_supported, found.metadata.documents_supported) == (True, False)
    assert (found.new_scopes, found.new_hosts, found.is_listed) == ((), (), True)
    assert world.mcp.requests == ["/team/mcp", WITH_PATH]
    assert world.login.requests == [SERVER_PATH]


def test_address_in_the_challenge_comes_first(world: World) -> None:
    world.challenge('Bearer resource_metadata="https://mcp.notes.example/elsewhere"')
    world.publish_resource(path="/elsewhere", scopes_supported=["one"])
    assert world.look().scopes == ("one",)
    assert world.mcp.requests == ["/team/mcp", "/elsewhere"]


def test_without_it_the_path_comes_before_the_root(world: World) -> None:
    world.publish_resource(path=RESOURCE_PATH, scopes_supported=["root"])
    assert world.look().scopes == ()
    del world.mcp.responses[WITH_PATH]
    world.forget()
    assert world.look().scopes == ("root",)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("length", [1, 300_000])
def test_page_for_every_unknown_address_counts_as_no_document(
    world: World, status: int, length: int
) -> None:
    page = document(b"<html>" + b" " * length, status, "text/html")
    for path in ("/team/mcp", WITH_PATH):
        world.mcp.put(path, page)
    world.publish_resource(path=RESOURCE_PATH)
    world.login.put(SERVER_PATH, page)
    world.publish_server(path=OPENID_PATH)
    assert world.look().issuer == ISSUER


def test_server_without_a_document_can_be_used_if_the_issuer_is_set(world: World) -> None:
    del world.mcp.responses[WITH_PATH]
    assert world.failure() is Code.RESOURCE_STATUS
    world.declare(issuer=ISSUER)
    found = world.look()
    assert (found.resource, found.url, found.is_listed) == (URL, None, False)


@pytest.mark.parametrize(
    ("issuer", "paths"),
    [
        (ISSUER, [SERVER_PATH, OPENID_PATH]),
        (f"{ISSUER}/", [SERVER_PATH, OPENID_PATH]),
        (f"{ISSUER}/t/1", [f"{SERVER_PATH}/t/1", f"{OPENID_PATH}/t/1", f"/t/1{OPENID_PATH}"]),
        (f"{ISSUER}/t/", [f"{SERVER_PATH}/t", f"{OPENID_PATH}/t", f"/t{OPENID_PATH}"]),
    ],
)
def test_metadata_is_looked_for_in_the_order_of_mcp(
    world: World, issuer: str, paths: list[str]
) -> None:
    world.publish_resource(authorization_servers=[issuer])
    world.login.responses.clear()
    world.publish_server(path=paths[-1], issuer=issuer)
    assert world.look().issuer == issuer
    assert world.login.requests == paths


@pytest.mark.parametrize(
    ("challenge", "listed", "of_server", "expected"),
    [
        ("", None, [], ()),
        ("", None, ["offline_access"], ()),
        ("", ["a", "b", "a"], [], ("a", "b")),
        ("", ["a"], ["offline_access"], ("a", "offline_access")),
        ("", ["a", "offline_access"], [], ("a", "offline_access")),
        ('scope="c  a"', ["a", "b"], [], ("c", "a")),
        ('scope="c"', ["a", "offline_access"], [], ("c", "offline_access")),
        ('scope=""', ["a"], [], ("a",)),
    ],
)
def test_scopes_are_those_of_the_challenge_or_else_all_supported(
    world: World,
    challenge: str,
    listed: list[str] | None,
    of_server: list[str],
    expected: tuple[str, ...],
) -> None:
    world.challenge(f"Bearer {challenge}")
    world.publish_resource(scopes_supported=listed)
    world.publish_server(scopes_supported=of_server)
    assert world.look().scopes == expected


def test_operators_scopes_and_issuer_count_more(world: World) -> None:
    world.challenge('Bearer scope="c"')
    world.publish_resource(authorization_servers=[ISSUER, "https://evil.example"])
    world.publish_server(issuer="https://evil.example")
    world.declare(scopes=["mine"], issuer="https://evil.example")
    found = world.look()
    assert (found.scopes, found.issuer) == (("mine",), "https://evil.example")


@each_case(
    ("resource", "accepted"),
    [
        (URL, True),
        (f"{URL}/", True),
        ("https://MCP.notes.example:443/team/mcp", True),
        ("https://mcp.notes.example/team", True),
        ("https://mcp.notes.example/team/", True),
        ("https://mcp.notes.example/", True),
        ("https://mcp.notes.example", True),
        ("https://mcp.notes.example/tea", False),
        ("https://mcp.notes.example/team/mc", False),
        ("https://mcp.notes.example/team/mcp/x", False),
        ("https://mcp.notes.example/other", False),
        ("https://mcp.notes.example/Team/mcp", False),
        ("https://mcp.notes.example/team/./mcp", False),
        ("https://mcp.notes.example/team/../team/mcp", False),
        ("https://mcp.notes.example//team/mcp", False),
        ("https://mcp.notes.example/%74eam/mcp", False),
        ("https://mcp.notes.example/team?x", False),
        ("https://mcp.notes.example/team#x", False),
        ("https://mcp.notes.example:8443/team/mcp", False),
        ("http://mcp.notes.example/team/mcp", False),
        ("https://mcp.notes.example./team/mcp", False),
        ("https://notes.example/team/mcp", False),
        ("https://me@mcp.notes.example/team/mcp", False),
        ("https://mcp.notes.example\\@evil.example/team/mcp", False),
        ("https://mcp.notes.example/team/mcp\n", False),
        ("mcp.notes.example/team/mcp", False),
        ("urn:notes", False),
        ("", False),
    ],
)
def test_resource_is_the_address_or_one_above_it(resource: str, accepted: bool) -> None:
    assert covers(resource, McpServer(name="notes", url=URL, label="Notes")) is accepted


def test_resource_is_used_as_received(world: World) -> None:
    resource = "https://MCP.notes.example:443/team/"
    world.publish_resource(resource=resource)
    assert world.look().resource == resource


def test_a_document_is_fetched_at_most_once_a_minute(world: World, store: Stack) -> None:
    world.look()
    world.look()
    assert len(world.requests) == 3
    world.mcp.put(WITH_PATH, document({}, status=500))
    world.forget()
    world.mcp.requests.clear()
    assert [world.failure() for _ in range(3)] == [Code.METADATA_STATUS] * 3
    assert world.mcp.requests == ["/team/mcp", WITH_PATH]
    store.clock.advance(FETCH_PAUSE)
    world.failure()
    assert len(world.mcp.requests) == 4


@pytest.mark.parametrize("anonymous", [True, False])
def test_authorization_servers_document_as_well_whoever_asks(
    world: World, store: Stack, anonymous: bool
) -> None:
    provider = provider_of(world.server, Client("", ISSUER, URL))
    world.login.put(SERVER_PATH, document({}, status=500))
    for client_id in ("one", "two", "three"):
        with pytest.raises(ProviderUnavailable):
            load_metadata(replace(provider, client_id=client_id), anonymous=anonymous)
        store.clock.advance(FETCH_PAUSE / 4)
    assert world.login.requests == [SERVER_PATH]
