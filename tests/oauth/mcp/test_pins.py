"""What was found at first stays: an MCP server that changes is noticed."""

import logging

import pytest

from oauth.codes import Code
from oauth.exceptions import IssuerNotAccepted, PinMismatch
from oauth.mcp import pins
from oauth.mcp.discovery import accept, discover, inspect
from oauth.mcp.pins import Pin
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.documents import SealedDocuments
from sessions_kms.services import services
from tests.oauth.support.mcp_internet import (
    EVIL,
    EVIL_HOST,
    ISSUER,
    LOGIN_HOST,
    SERVER_PATH,
    URL,
    World,
    document,
    server_document,
)
from tests.sessions_kms.support.stacks import Stack

FIRST = Pin(issuer=ISSUER, resource=URL, scopes=("read",), hosts=(LOGIN_HOST,))


@pytest.fixture
def pinned(world: World) -> World:
    world.publish_resource(scopes_supported=["read"])
    world.publish_server(issuer=EVIL)
    world.accept()
    return world


def mismatch(world: World) -> Code:
    with pytest.raises(PinMismatch) as caught:
        discover(world.server)
    return caught.value.code


def test_first_success_is_pinned(pinned: World) -> None:
    assert pins.load_pin(pinned.server) == FIRST


def test_failure_and_inspection_pin_nothing(world: World) -> None:
    world.look()
    world.forget()
    world.publish_server(code_challenge_methods_supported=[])
    world.declare(issuer=ISSUER)
    with pytest.raises(Exception, match="S256"):
        discover(world.server)
    assert pins.load_pin(world.server) is None


def test_another_issuer_is_an_error_and_never_requested(
    pinned: World, caplog: pytest.LogCaptureFixture
) -> None:
    pinned.publish_resource(authorization_servers=[EVIL])
    assert mismatch(pinned) is Code.PINNED_ISSUER
    assert pinned.evil.requests == []
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.getMessage().startswith("notes: ")
    assert record.getMessage().endswith("(pinned_issuer)")
    assert pins.load_pin(pinned.server) == FIRST


def test_pinned_issuer_is_used_wherever_it_is_listed(pinned: World) -> None:
    pinned.publish_resource(authorization_servers=[EVIL, ISSUER])
    assert discover(pinned.server).issuer == ISSUER
    assert pinned.evil.requests == []


@pytest.mark.parametrize("resource", [f"{URL}/", "https://mcp.notes.example/team"])
def test_another_resource_is_an_error(pinned: World, resource: str) -> None:
    pinned.publish_resource(resource=resource)
    assert mismatch(pinned) is Code.PINNED_RESOURCE


def test_accepting_replaces_the_pin(pinned: World) -> None:
    pinned.publish_resource(authorization_servers=[EVIL], resource=f"{URL}/")
    assert mismatch(pinned) is Code.PINNED_ISSUER
    assert accept(inspect(pinned.server, ignore_pin=True))
    assert discover(pinned.server).issuer == EVIL


def test_more_scopes_are_requested_but_named_as_new(pinned: World) -> None:
    for number in range(3):
        pinned.forget()
        pinned.publish_resource(scopes_supported=["read", *(f"s{n}" for n in range(number))])
        found = discover(pinned.server)
        assert found.new_scopes == tuple(f"s{n}" for n in range(number))
    assert pins.load_pin(pinned.server) == FIRST  # They stay new for everybody else.


def test_scopes_that_the_operator_set_are_never_new(pinned: World) -> None:
    pinned.declare(scopes=["write"])
    assert (discover(pinned.server).scopes, discover(pinned.server).new_scopes) == (("write",), ())


def test_endpoint_at_a_new_host_is_used_logged_and_reported(
    pinned: World, caplog: pytest.LogCaptureFixture
) -> None:
    pinned.publish_server(token_endpoint=f"{EVIL}/token")
    found = discover(pinned.server)
    assert found.metadata.token_endpoint == f"{EVIL}/token"
    assert found.new_hosts == (EVIL_HOST,)
    assert f"endpoints at new hosts: {EVIL_HOST}" in caplog.text


def test_issuer_that_the_operator_set_counts_more_than_the_pinned_one(pinned: World) -> None:
    pinned.declare(issuer=EVIL)
    pinned.publish_resource(scopes_supported=["read", "write"])
    found = discover(pinned.server)
    assert (found.issuer, found.new_hosts, found.is_listed) == (EVIL, (), False)
    assert found.new_scopes == ("write",)  # The operator said nothing about these.
    assert pins.load_pin(pinned.server) == Pin(
        issuer=EVIL, resource=URL, scopes=("read",), hosts=(EVIL_HOST,)
    )


def delete_pin(world: World) -> None:
    """Do as a writer of the table does."""
    run_sync(SealedDocuments(services()).delete("pin/notes"))
    world.forget()


def test_deleted_pin_lets_only_an_issuer_of_the_servers_own_origin_in(pinned: World) -> None:
    delete_pin(pinned)
    pinned.publish_resource(authorization_servers=[EVIL])
    pinned.declare(issuer=ISSUER)
    assert discover(pinned.server).issuer == ISSUER
    assert pinned.evil.requests == []
    delete_pin(pinned)
    pinned.declare()
    with pytest.raises(IssuerNotAccepted):
        discover(pinned.server)
    at_server = pinned.mcp.origin
    pinned.publish_resource(authorization_servers=[at_server])
    pinned.mcp.put(SERVER_PATH, document(server_document(at_server)))
    pinned.forget()
    assert discover(pinned.server).issuer == at_server  # Why check_providers asks for the issuer.


def test_pin_that_cannot_be_read_stops_everything_until_it_is_accepted(
    pinned: World, store: Stack
) -> None:
    documents = SealedDocuments(store.services)
    other = "pin/other"
    assert run_sync(documents.store(other, FIRST.to_bytes(), expected=None))
    items = store.items()
    moved = items[documents.id_of(other)] | {"id": {"S": documents.id_of("pin/notes")}}
    store.put_item(moved)
    with pytest.raises(StoreUnavailable):
        discover(pinned.server)
    assert accept(inspect(pinned.server, ignore_pin=True))
    assert discover(pinned.server).issuer == ISSUER


def test_slower_of_two_processes_compares_with_what_the_faster_one_pinned(world: World) -> None:
    other = Pin(issuer=world.mcp.origin, resource=f"{URL}/", scopes=(), hosts=())

    def respond() -> tuple[int, dict[str, str], bytes]:
        assert pins.add_pin(world.server, other)
        return document(server_document(world.mcp.origin))

    world.publish_resource(authorization_servers=[world.mcp.origin])
    world.mcp.responses[SERVER_PATH] = respond
    assert mismatch(world) is Code.PINNED_RESOURCE
    assert pins.load_pin(world.server) == other
