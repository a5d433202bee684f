"""Scopes: which are requested, which the page names before, and how many a server may demand."""

import re
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from oauth.connect.requested_scopes import RequestedScopes
from oauth.connect.wanted_scopes import WantedScopes, demand_scopes, load_wanted
from oauth.mcp.resource_metadata import MAX_AGE
from oauth.mcp.servers import McpServer
from oauth.provider.token_set import TokenSet
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.support.connecting import Connecting, declare
from tests.oauth.support.requests import request_of

SERVER = McpServer(name="notes", url="https://mcp.example.com/mcp", label="Notes")
HELD = TokenSet(
    access_token="a", token_type="Bearer", scope=(), subject="1", client_id="c",
    requested_scope=("read",),
)  # fmt: skip


class Found:
    """What discovery found."""

    def __init__(self, *scopes: str, new: tuple[str, ...] = (), server: Any = SERVER) -> None:
        self.scopes, self.new_scopes, self.server = scopes, new, server


def requested_scopes(found: Found, held: TokenSet | None, *wanted: str) -> RequestedScopes:
    return RequestedScopes.of(found, held, wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "held", "wanted", "scopes", "to_name"),
    [
        (Found("read"), None, (), ("read",), ()),
        (Found("read", "new", new=("new",)), None, (), ("read", "new"), ("new",)),
        (Found("a"), HELD, ("write",), ("a", "read", "write"), ("write",)),
        (Found(), HELD, ("read",), ("read",), ()),
        (Found("mine", server=replace(SERVER, scopes=("mine",))), HELD, ("w",), ("mine",), ()),
    ],
)
def test_scopes_are_those_of_the_server_of_before_and_those_demanded(
    found: Found, held: TokenSet | None, wanted: Any, scopes: Any, to_name: Any
) -> None:
    assert requested_scopes(found, held, *wanted) == RequestedScopes(scopes, to_name)


def test_demanded_scopes_are_limited_in_number_and_form() -> None:
    wanted = WantedScopes().with_more(["a b", 'quote"', "", "x" * 201, "ä", "ok"])
    assert wanted.scopes == ("ok",)
    grown = wanted.with_more(f"scope-{number}" for number in range(100))
    assert len(grown.scopes) == 20
    assert grown.scopes[0] == "ok"


def demand(notes: Connecting, *scopes: str) -> bool:
    session: Any = request_of(notes.visitor).session
    return run_sync(demand_scopes(session, "notes", scopes, services().clock()))


def test_scopes_that_keep_growing_are_named_each_time_and_end_after_two_connections(
    notes: Connecting, store: Any
) -> None:
    server = notes.resource.authorization
    notes.connect()
    for number in range(2):
        assert demand(notes, f"more-{number}")
        page = notes.visitor.client.get(notes.path).content.decode()
        assert f"<code>more-{number}</code>" in page
        asked = len(server.authorizations)
        again = notes.post(scope="something-else").content.decode()
        assert f"<code>more-{number}</code>" in again
        assert len(server.authorizations) == asked
        notes.connect(scope=f"more-{number}")
    assert server.authorizations[-1]["scope"] == "more-0 more-1"
    assert not demand(notes, "more-2")
    assert "more-2" not in load_wanted(notes.visitor.session, "notes").scopes
    store.clock.advance(3600)
    assert demand(notes, "more-2")


def test_page_names_20_of_100_scopes_at_once_and_the_others_on_demand(
    notes: Connecting, store: Any
) -> None:
    notes.connect()
    notes.resource.scopes = tuple(f"scope-{number:02}" for number in range(100))
    store.clock.advance(MAX_AGE + 1)
    page = notes.post().content.decode()
    assert_accessible(page)
    shown, _, opened = page.partition('<details class="details">')
    assert re.findall("<code>(.*?)</code>", shown) == list(notes.resource.scopes[:20])
    assert "These are the first 20 of 100." in shown
    assert re.findall("<code>(.*?)</code>", opened) == list(notes.resource.scopes[20:])
    notes.begin(scope=" ".join(notes.resource.scopes))


def test_scope_of_the_challenge_is_requested_with_a_prompt_for_offline_access(
    notes: Connecting,
) -> None:
    notes.resource.scopes = ("read", "offline_access")
    notes.connect()
    asked = notes.resource.authorization.authorizations[0]
    assert (asked["scope"], asked["prompt"]) == ("read offline_access", "consent")


def test_disconnecting_forgets_what_was_demanded(notes: Connecting, settings: Settings) -> None:
    notes.connect()
    demand(notes, "more")
    notes.visitor.client.post(f"{notes.path}disconnect/")
    assert load_wanted(notes.visitor.session, "notes") == WantedScopes()
    declare(settings, notes=notes.resource.url)
