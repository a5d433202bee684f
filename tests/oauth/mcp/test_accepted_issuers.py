"""A hostile MCP server that names the authorization server of somebody else, before it is pinned.

Rows of the adversaries: the hostile MCP server, the operator, a writer of the table.
"""

import shlex

import pytest

from oauth.codes import Code
from oauth.exceptions import IssuerNotAccepted, PinMismatch, ProviderUnavailable
from oauth.mcp import pins
from oauth.mcp.discovery import accept, discover, inspect
from oauth.mcp.pins import Pin
from oauth.mcp.servers import McpServer, find_server
from tests.oauth.support.mcp_internet import (
    EVIL,
    ISSUER,
    LOGIN_HOST,
    SERVER_PATH,
    URL,
    World,
    document,
    server_document,
)

RESOURCE_OF_EVIL = "/.well-known/oauth-protected-resource/mcp"


def declare_evil(world: World) -> McpServer:
    """Declare the hostile server beside the honest one; its issuer has its own origin."""
    world.settings.OAUTH_MCP_SERVERS = {"notes": {"url": URL}, "evil": {"url": f"{EVIL}/mcp"}}
    world.evil.put(
        RESOURCE_OF_EVIL, document({"resource": f"{EVIL}/mcp", "authorization_servers": [EVIL]})
    )
    world.publish_server(issuer=EVIL)
    found = find_server("evil")
    assert found is not None
    return found


def test_issuer_elsewhere_is_neither_asked_nor_pinned_before_the_operator_accepts_it(
    world: World,
) -> None:
    with pytest.raises(IssuerNotAccepted) as caught:
        discover(world.server)
    assert caught.value.code is Code.ISSUER_NOT_ACCEPTED
    assert caught.value.setting == f"UPSTREAM_NOTES_ISSUER={ISSUER}"
    assert (world.login.requests, pins.load_pin(world.server)) == ([], None)
    with pytest.raises(IssuerNotAccepted):
        inspect(world.server)

    world.declare(issuer=ISSUER)
    assert discover(world.server).issuer == ISSUER
    world.declare()  # What the operator set once was pinned.
    assert discover(world.server).issuer == ISSUER


def test_operator_accepts_an_issuer_elsewhere_by_pinning_it(world: World) -> None:
    assert accept(inspect(world.server, ignore_pin=True))
    assert discover(world.server).issuer == ISSUER


def test_pin_of_an_earlier_version_stays_valid(world: World) -> None:
    pins.add_pin(world.server, Pin(issuer=ISSUER, resource=URL, scopes=(), hosts=(LOGIN_HOST,)))
    found = discover(world.server)
    assert (found.issuer, found.is_issuer_elsewhere) == (ISSUER, True)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://mcp.notes.example:8443",
        "http://mcp.notes.example",
        "https://mcp.notes.example.evil.example",
        "https://sub.mcp.notes.example",
        "https://notes.example",
    ],
)
def test_only_the_exact_origin_is_the_servers_own(world: World, issuer: str) -> None:
    world.publish_resource(authorization_servers=[issuer, world.mcp.origin])
    with pytest.raises(IssuerNotAccepted):
        discover(world.server)


@pytest.mark.parametrize("issuer", ["https://MCP.notes.example", "https://mcp.notes.example:443/t"])
def test_own_origin_is_recognized_in_other_spellings(world: World, issuer: str) -> None:
    world.publish_resource(authorization_servers=[issuer])
    with pytest.raises(ProviderUnavailable) as caught:  # It is asked, and has no such metadata.
        discover(world.server)
    assert caught.value.code is Code.METADATA_STATUS


@pytest.mark.parametrize(
    "issuer",
    ["https://x.example/\nUPSTREAM_A_ISSUER=y", "https://x.example/\t", "https://x.example/\u202e",
     " https://x.example", "https://x.example/a b", "https://x.example@mcp.notes.example"],
)  # fmt: skip
def test_line_to_add_never_has_what_deceives_its_reader(world: World, issuer: str) -> None:
    world.publish_resource(authorization_servers=[issuer])
    with pytest.raises(ProviderUnavailable) as caught:
        discover(world.server)
    assert caught.value.code is Code.METADATA_ENDPOINT


def test_line_to_add_is_one_word_of_a_shell(world: World) -> None:
    issuer = "https://x.example/$(touch${IFS}/tmp/x);'`id`"
    world.publish_resource(authorization_servers=[issuer])
    with pytest.raises(IssuerNotAccepted) as caught:
        discover(world.server)
    assert shlex.split(caught.value.setting) == [f"UPSTREAM_NOTES_ISSUER={issuer}"]


@pytest.mark.parametrize("endpoint", ["token_endpoint", "revocation_endpoint"])
def test_endpoint_at_an_honest_servers_issuer_does_not_lock_that_out(
    world: World, endpoint: str
) -> None:
    evil = declare_evil(world)
    world.publish_server(issuer=EVIL, **{endpoint: f"{ISSUER}/x"})
    assert discover(evil).metadata.issuer == EVIL
    world.accept()
    assert discover(world.server).issuer == ISSUER


def test_naming_an_honest_servers_issuer_does_not_lock_that_out(world: World) -> None:
    evil = declare_evil(world)
    for issuer in (world.mcp.origin, ISSUER):
        world.forget()
        world.evil.put(
            RESOURCE_OF_EVIL,
            document({"resource": f"{EVIL}/mcp", "authorization_servers": [issuer]}),
        )
        with pytest.raises(Exception, match="authorization server"):
            discover(evil)
    assert pins.load_pin(evil) is None
    world.accept()
    assert discover(world.server).issuer == ISSUER


def test_endpoint_at_another_origin_is_no_fault_of_an_honest_server(world: World) -> None:
    world.publish_resource(authorization_servers=[world.mcp.origin])
    endpoints = {"authorization_endpoint": f"{ISSUER}/authorize"}
    world.mcp.put(SERVER_PATH, document(server_document(world.mcp.origin) | endpoints))
    assert discover(world.server).metadata.authorization_endpoint == f"{ISSUER}/authorize"


def test_pinned_server_that_changes_to_an_issuer_elsewhere_is_still_a_mismatch(
    world: World,
) -> None:
    world.publish_resource(authorization_servers=[world.mcp.origin])
    world.mcp.put(SERVER_PATH, document(server_document(world.mcp.origin)))
    discover(world.server)
    world.forget()
    world.publish_resource()
    with pytest.raises(PinMismatch):
        discover(world.server)
    assert world.login.requests == []
