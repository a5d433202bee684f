"""Disconnecting while a second connection is being made: the tokens of both are revoked.

Rows of the adversaries: one person with many things (two tabs), 64 callers at once, a response that
is slow. Each test puts one request's write between two steps of the other.
"""

import threading
from typing import Any, NoReturn

import pytest

from oauth.connect import flow, views
from oauth.connect.exchange import exchange_code
from oauth.logout import deferred_revocation
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms import SessionStore, StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.oauth.support.connecting import Connecting
from tests.oauth.support.fake_provider import Response
from tests.oauth.support.logout_fixtures import wait_until_settled


def disconnect(notes: Connecting) -> str:
    """Disconnect in another tab; return the page that follows."""
    notes.visitor.client.post(f"{notes.path}disconnect/")
    return notes.visitor.client.get("/").content.decode()


def revoked_tokens(notes: Connecting) -> set[str]:
    wait_until_settled()
    return {form["token"] for form in notes.resource.authorization.revocations}


def tokens_of(held: TokenSet) -> set[str]:
    return {held.access_token, held.refresh_token or ""}


def issued_tokens(notes: Connecting) -> set[str]:
    """Return all tokens of the server that are still valid there."""
    server = notes.resource.authorization
    return {*server.people_of_tokens, *server.refresh_tokens}


def connect_and_disconnect(notes: Connecting, monkeypatch: pytest.MonkeyPatch) -> str:
    """Disconnect while the callback of a connection has the session loaded; return the page."""

    def exchange_slowly(*arguments: Any) -> TokenSet:
        token_set = exchange_code(*arguments)
        disconnect(notes)
        return token_set

    monkeypatch.setattr(flow, "exchange_code", exchange_slowly)
    assert notes.connect()["Location"] == "/"
    return notes.visitor.client.get("/").content.decode()


def test_connection_that_is_completed_after_the_disconnect_is_revoked_too(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.connect()
    first = notes.held
    page = connect_and_disconnect(notes, monkeypatch)
    assert vault.load_token_set(notes.visitor.session, notes.name) is None
    assert tokens_of(first) < revoked_tokens(notes)
    assert issued_tokens(notes) == set()
    assert "Notes was disconnected meanwhile, and stays disconnected." in page
    assert "Notes is connected." not in page


def test_first_connection_that_is_completed_after_the_disconnect_stays(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Notes is connected." in connect_and_disconnect(notes, monkeypatch)
    assert tokens_of(notes.held) == issued_tokens(notes)
    assert revoked_tokens(notes) == set()


def test_connection_that_is_completed_during_the_disconnect_is_revoked_too(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.connect()
    location = notes.resource.authorization.consent(notes.begin())
    load, drop = vault.load_token_set, vault.drop_token_set
    stored: list[TokenSet] = []

    def complete_first(session: Any, provider: str) -> None:
        """Store the second connection after the disconnect has loaded the session."""
        if not stored:
            assert notes.back(location)["Location"] == "/"
            stored.append(notes.held)
        drop(session, provider)

    monkeypatch.setattr(vault, "drop_token_set", complete_first)
    page = disconnect(notes)
    assert "Notes is disconnected." in page
    assert load(notes.visitor.session, notes.name) is None
    assert tokens_of(stored[0]) <= revoked_tokens(notes)


def test_other_changes_of_the_session_are_kept(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tab saves the session at every attempt of the disconnect."""
    notes.connect()
    held, drop, saves = notes.held, vault.drop_token_set, iter(range(100))

    def save_first(session: Any, provider: str) -> None:
        other = notes.visitor.session
        other["visits"] = next(saves)
        other.save()
        drop(session, provider)

    monkeypatch.setattr(vault, "drop_token_set", save_first)
    assert "Notes is disconnected." in disconnect(notes)
    assert notes.visitor.session["visits"] == next(saves) - 1
    assert tokens_of(held) == revoked_tokens(notes)


def test_tokens_are_revoked_even_if_the_request_fails_after_the_disconnect(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.connect()
    held = notes.held

    def fail(*_: object) -> NoReturn:
        raise StoreUnavailable

    monkeypatch.setattr(views, "drop_wanted", fail)
    assert notes.visitor.client.post(f"{notes.path}disconnect/").status_code == 503
    assert vault.load_token_set(notes.visitor.session, notes.name) is None
    assert tokens_of(held) == revoked_tokens(notes)


def test_session_that_ends_because_of_a_refresh_has_what_was_connected_meanwhile(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = notes.resource.authorization.consent(notes.begin())
    is_signed_in_with = vault.is_signed_in_with
    session = SessionStore(notes.visitor.session.session_key)

    def complete_first(*arguments: Any) -> bool:
        notes.back(location)
        return is_signed_in_with(*arguments)

    monkeypatch.setattr(vault, "is_signed_in_with", complete_first)
    others = run_sync(vault.TokenRepository(services(), session, "corp").end("1001"))
    assert others is not None
    assert tokens_of(others["notes"]) == issued_tokens(notes)


@pytest.mark.parametrize("is_completed_after_it", [False, True])
def test_connection_that_is_made_before_an_older_one_is_revoked_is_not_ended(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch, *, is_completed_after_it: bool
) -> None:
    """Row: the provider with one grant per person and client. It cannot revoke at first."""
    monkeypatch.setattr(deferred_revocation, "CONNECTIONS_WAIT", 0.01)
    server = notes.resource.authorization
    is_connected_again, arrivals = threading.Event(), threading.Semaphore(0)

    def fail() -> Response:
        arrivals.release()
        assert is_connected_again.wait(10)
        return 503, "text/plain", b""

    notes.connect()
    server.failing["/revoke"] = fail
    if is_completed_after_it:
        with monkeypatch.context() as patch:
            connect_and_disconnect(notes, patch)
    else:
        disconnect(notes)
    for _ in range(1 + is_completed_after_it):
        assert arrivals.acquire(timeout=10)
    notes.connect()
    del server.failing["/revoke"]
    is_connected_again.set()
    assert revoked_tokens(notes) == set()
    assert tokens_of(notes.held) <= issued_tokens(notes)
