"""The state of a connection in the session: bounded, and used once."""

from dataclasses import replace
from typing import Any

import pytest

from oauth.connect.state import (
    SIZE_MAX,
    STATE_AGE,
    STATES_MAX,
    PendingConnection,
    StateTooLarge,
    load_states,
    store_state,
    take_state,
)
from sessions_kms.backend import SessionStore

BEGUN = PendingConnection(
    server="notes", user="1", issuer="https://as.example", token_endpoint="https://as.example/t",
    states_issuer=True, client_id="c", resource="https://mcp.example/mcp",
    callback="https://gateway.example/accounts/connect/notes/callback/", verifier="canary",
    scopes=("read",), begun_at=1000, next_url="/sessions/", pending={"client": "an app"},
)  # fmt: skip


@pytest.fixture
def session(store: Any) -> SessionStore:
    return SessionStore()


def take(session: SessionStore, name: str, **changed: Any) -> PendingConnection | None:
    return take_state(session, name, **{"server": "notes", "user": "1", "now": 1000.0, **changed})


def test_state_is_returned_once(session: SessionStore) -> None:
    name = store_state(session, BEGUN)
    assert take(session, name) == BEGUN
    assert take(session, name) is None
    assert load_states(session) == {}
    assert "canary" not in repr(BEGUN)


def test_response_in_one_tab_keeps_what_another_tab_begins_meanwhile(session: SessionStore) -> None:
    first = store_state(session, BEGUN)
    session.save()
    key = session.session_key
    respond, beginning, second_beginning = SessionStore(key), SessionStore(key), SessionStore(key)
    for each in (respond, beginning, second_beginning):
        each.load()
    names = [store_state(each, BEGUN) for each in (beginning, second_beginning)]
    beginning.save()
    second_beginning.save()
    assert take(respond, first) == BEGUN
    respond.save()
    stored = SessionStore(key)
    assert [take(stored, each) for each in (*names, first)] == [BEGUN, BEGUN, None]


@pytest.mark.parametrize(
    "changed",
    [{"server": "files"}, {"user": "2"}, {"now": 1000.0 + STATE_AGE}, {"now": 0.0}],
)
def test_state_is_used_up_by_a_response_that_is_not_its_own(
    session: SessionStore, changed: dict[str, Any]
) -> None:
    name = store_state(session, BEGUN)
    assert take(session, name, **changed) is None
    assert take(session, name) is None


def test_only_the_newest_states_are_kept(session: SessionStore) -> None:
    names = [store_state(session, replace(BEGUN, begun_at=1000 + number)) for number in range(15)]
    kept = [name for name in names if name in load_states(session)]
    assert kept == names[-STATES_MAX:]
    large = replace(BEGUN, begun_at=2000, next_url="/" + "x" * (SIZE_MAX - 700))
    name = store_state(session, large)
    assert list(load_states(session)) == [name]
    with pytest.raises(StateTooLarge):
        store_state(session, replace(large, next_url="/" + "x" * SIZE_MAX))
