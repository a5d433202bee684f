"""Ending sessions by user and by link, through an index that lags."""

from typing import Any

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection
from sessions_kms.services import id_of, services
from sessions_kms.session.links import LINKS
from tests.sessions_kms.support.sessions import is_alive, link_items, save_session
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import as_coroutine, run_blocking

LINK, OTHER_LINK = "a" * 64, "b" * 64


def sign_in_user(user: str, **content: Any) -> SessionStore:
    return save_session(user, **content)


def test_unknown_user_has_no_sessions(stack: Stack) -> None:
    SessionStore().create()
    assert ending.end_sessions_of(services(), "") == 0
    assert ending.end_sessions_of(services(), None) == 0
    assert len(stack.sessions()) == 1


def test_one_session_is_ended_by_its_own_user_only(stack: Stack) -> None:
    session = sign_in_user("7")
    [info] = run_sync(Inspection(services()).list_user_sessions("7")).rows
    assert not ending.end_session(services(), info.id, user_id="8")
    assert not ending.end_session(services(), info.id, user_id="")
    assert is_alive(session)
    assert ending.end_session(services(), info.id, user_id="7")
    assert not is_alive(session)
    assert not ending.end_session(services(), info.id, user_id="7")


@pytest.mark.parametrize("forged", ["data-key#django#1", "not-before#django", "", "x" * 43])
def test_other_items_cannot_be_ended_as_sessions(stack: Stack, forged: str) -> None:
    run_sync(stack.services.sealing_key())
    before = stack.items()
    assert not ending.end_session(services(), forged, user_id="7")
    assert stack.items() == before


def test_all_others_of_a_user_are_ended(stack: Stack) -> None:
    mine, others, stranger = (
        sign_in_user("7"),
        [sign_in_user("7"), sign_in_user("7")],
        sign_in_user("8"),
    )
    assert ending.end_sessions_of(services(), "7", but=mine.session_key) == 2
    assert is_alive(mine)
    assert is_alive(stranger)
    assert not any(is_alive(session) for session in others)


def test_session_that_appears_late_in_the_index_is_ended_too(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = sign_in_user("7"), sign_in_user("7")
    owned, shown = run_blocking(fake.services.queries.owned_ids), iter([1, 0, 2])

    def lagging(owner: str) -> list[str]:
        return sorted(owned(owner))[: next(shown, 9)]

    monkeypatch.setattr(fake.services.queries, "owned_ids", as_coroutine(lagging))
    assert ending.end_sessions_of(services(), "7") == 2
    assert not is_alive(early)
    assert not is_alive(late)


def test_ended_session_that_the_index_still_shows_is_counted_once(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in_user("7")
    stale = run_sync(fake.services.queries.owned_ids("user#django#7"))
    monkeypatch.setattr(fake.services.queries, "owned_ids", as_coroutine(lambda owner: stale))
    assert ending.end_sessions_of(services(), "7") == 1


def test_continually_new_sessions_are_reported(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def own(_: str) -> list[str]:
        begun.append(id_of(sign_in_user("7").session_key or ""))
        return begun

    monkeypatch.setattr(fake.services.queries, "owned_ids", as_coroutine(own))
    with pytest.raises(StoreUnavailable, match="keep beginning"):
        ending.end_sessions_of(services(), "7")
    assert len(begun) == ending.PASSES_MAX


def test_expired_sessions_are_deleted_and_not_counted(stack: Stack) -> None:
    sign_in_user("7")
    stack.clock.advance(8 * 86400)
    sign_in_user("7")
    assert ending.end_sessions_of(services(), "7") == 1
    assert stack.sessions() == {}


def test_linked_sessions_are_ended_and_others_are_not(stack: Stack) -> None:
    linked, other = sign_in_user("7", **{LINKS: [LINK]}), sign_in_user("7", **{LINKS: [OTHER_LINK]})
    assert ending.end_linked(services(), LINK) == 1
    assert not is_alive(linked)
    assert is_alive(other)
    assert ending.end_linked(services(), LINK) == 0


def test_link_follows_a_key_change_and_leaves_nothing_behind(stack: Stack) -> None:
    session = sign_in_user("7", **{LINKS: [LINK]})
    session.cycle_key()
    assert len(link_items(stack)) == 1
    assert ending.end_linked(services(), LINK) == 1
    assert not is_alive(session)
    assert link_items(stack) == set()


def test_link_that_is_replaced_no_longer_ends_the_session(stack: Stack) -> None:
    session = sign_in_user("7", **{LINKS: [LINK]})
    session[LINKS] = [OTHER_LINK]
    session.save()
    assert ending.end_linked(services(), LINK) == 0
    assert is_alive(session)
    assert ending.end_linked(services(), OTHER_LINK) == 1


def test_link_is_written_before_the_session(fake: Stack) -> None:
    sign_in_user("7", **{LINKS: [LINK]})
    calls = fake.dynamodb.calls
    assert calls.index("PutItem logout") < calls.index("PutItem session")


def test_link_lives_as_long_as_its_session_can(stack: Stack) -> None:
    sign_in_user("7", **{LINKS: [LINK], "_session_expiry": 600})
    [item] = [item for name, item in stack.items().items() if name.startswith("logout#")]
    assert item["ttl"] == {"N": str(1_800_000_000 + 7 * 86400)}


@pytest.mark.parametrize("links", ["x", ["short"], [LINK] * 17, ["A" * 64], [1], {"a": 1}])
def test_malformed_links_are_refused_at_the_save(fake: Stack, links: Any) -> None:
    with pytest.raises(ValueError, match="link"):
        sign_in_user("7", **{LINKS: links})


def test_links_added_and_removed_by_two_requests_are_merged(stack: Stack) -> None:
    third = "c" * 64
    session = sign_in_user("7", **{LINKS: [LINK]})
    mine, theirs = SessionStore(session.session_key), SessionStore(session.session_key)
    mine[LINKS] = [LINK, third]
    theirs[LINKS] = [OTHER_LINK]
    theirs.save()
    mine.save()
    assert SessionStore(session.session_key)[LINKS] == [OTHER_LINK, third]
    assert ending.end_linked(services(), LINK) == 0
    assert ending.end_linked(services(), OTHER_LINK) == 1


def test_session_without_links_costs_no_further_call(fake: Stack) -> None:
    session = sign_in_user("7")
    session["a"] = 1
    session.save()
    session.cycle_key()
    assert "PutItem logout" not in fake.dynamodb.calls
