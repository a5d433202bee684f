"""Requests that overlap: nothing lost, nothing resurrected."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any, NoReturn

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.exceptions import InvalidRecord, SessionMoved, StoreUnavailable
from sessions_kms.session.repository import SessionRepository
from sessions_kms.signals import session_refused
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.memory_dynamodb import after
from tests.sessions_kms.support.sessions import open_again, save_changes, save_session, stored_item
from tests.sessions_kms.support.stacks import Stack, another_process, install
from tests.support.clock import FakeClock
from tests.support.signals import record_signal


def at_once(*calls: Callable[[], object]) -> list[BaseException | None]:
    """Run calls in threads that start together; return what each raised."""
    outcomes = together(len(calls), lambda number: calls[number]())
    return [each if isinstance(each, BaseException) else None for each in outcomes]


def test_changes_of_two_requests_to_different_keys_are_both_kept(stack: Stack) -> None:
    session = save_session(a=1, b=1, c=1)
    mine = open_again(session)
    save_changes(session, b=2)
    mine["a"] = 2
    mine.save()
    assert stored_item(session) == {"a": 2, "b": 2, "c": 1}
    assert dict(mine.items()) == {"a": 2, "b": 2, "c": 1}


def test_merged_state_is_in_the_same_dict_and_is_the_new_baseline(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    held = mine._session
    save_changes(session, b=2)
    mine["a"] = 2
    mine.save()
    assert held is mine._session
    del mine["b"]
    mine.save()
    assert stored_item(session) == {"a": 2}


def test_nested_mutation_counts_as_a_change(stack: Stack) -> None:
    session = save_session(cart={"items": [1]}, other=1)
    mine = open_again(session)
    save_changes(session, other=2)
    mine["cart"]["items"].append(2)
    assert not mine.modified
    mine.save()
    assert stored_item(session) == {"cart": {"items": [1, 2]}, "other": 2}


def test_this_requests_value_wins_if_both_changed_one_key(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    save_changes(session, a=2)
    mine["a"] = 3
    mine.save()
    assert stored_item(session) == {"a": 3}


def test_conflict_with_an_invalid_record_is_announced_and_changes_nothing(fake: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    save_changes(session, b=2)
    (item,) = fake.sessions().values()
    fake.put_item(item | {"authTag": {"B": bytes(16)}})
    damaged = fake.sessions()
    mine["a"] = 2
    with record_signal(session_refused) as received, pytest.raises(UpdateError):
        mine.save()
    assert [each["reason"] for each in received] == ["authentication"]
    assert fake.sessions() == damaged


def test_record_that_arrives_invalid_once_is_read_again(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    save_changes(session, b=2)
    decrypt, arrived = SessionRepository.decrypt, count()

    async def decrypt_later(self: SessionRepository, *given: Any) -> Any:
        if next(arrived) == 0:
            raise InvalidRecord("auth_tag")
        return await decrypt(self, *given)

    monkeypatch.setattr(SessionRepository, "decrypt", decrypt_later)
    mine["a"] = 2
    mine.save()
    assert stored_item(session) == {"a": 2, "b": 2}
    assert next(arrived) > 1


@pytest.mark.parametrize("deleter", ["mine", "theirs"])
def test_key_deleted_on_either_side_stays_deleted(stack: Stack, deleter: str) -> None:
    session = save_session(a=1, b=1)
    mine, theirs = open_again(session), open_again(session)
    for name, side in (("theirs", theirs), ("mine", mine)):
        if name == deleter:
            del side["a"]
        else:
            side["a"] = 2
        side["from " + name] = True
        side.save()
    assert stored_item(session) == {"b": 1, "from theirs": True, "from mine": True}


def test_unrelated_save_does_not_put_an_old_value_back(stack: Stack) -> None:
    session = save_session(token="old")
    slow = open_again(session)
    save_changes(session, token="new")
    slow["visited"] = True
    slow.save()
    assert stored_item(session) == {"token": "new", "visited": True}


def test_ended_session_has_what_others_stored_since_it_was_loaded(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    save_changes(session, b=2)
    mine.flush()
    assert mine.ended_content == {"a": 1, "b": 2}
    alone = open_again(save_session(a=1))
    alone.flush()
    assert alone.ended_content is None


def test_end_does_not_fail_because_of_what_others_stored(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    save_changes(session, b=2)

    def refuse(*_: object) -> NoReturn:
        raise StoreUnavailable

    monkeypatch.setattr(SessionRepository, "decrypt", refuse)
    mine.flush()
    assert stack.sessions() == {}
    assert "What an ended session held last cannot be read." in caplog.text


def test_session_that_does_not_merge_is_saved_as_it_was_loaded_or_not_at_all(stack: Stack) -> None:
    session = save_session(a=1, b=1)
    mine, theirs = open_again(session), open_again(session)
    mine.merges = False
    del mine["a"]
    theirs["b"] = 2
    theirs.save()
    with pytest.raises(UpdateError):
        mine.save()
    assert stored_item(session) == {"a": 1, "b": 2}
    again = open_again(session)
    again.merges = False
    del again["a"]
    again.save()
    assert stored_item(session) == {"b": 2}


def test_of_sessions_that_do_not_merge_one_is_saved_and_delays_no_other(stack: Stack) -> None:
    session = save_session(a=1)
    removing, others = ([open_again(session) for _ in range(4)] for _ in "12")
    for each in removing:
        each.merges = False
        del each["a"]
    for number, each in enumerate(others):
        each[f"other {number}"] = 1
    errors = at_once(*(each.save for each in [*removing, *others]))
    assert errors[4:] == [None] * 4
    assert {type(each) for each in errors[:4]} <= {UpdateError, type(None)}
    assert errors[:4].count(None) == ("a" not in stored_item(session))


def test_session_that_catches_up_with_another_object_keeps_its_own_changes(stack: Stack) -> None:
    session = save_session(a=1, b=1)
    mine = open_again(session)
    theirs = save_changes(session, b=2)
    mine["a"] = 2
    mine.catch_up(theirs)
    assert dict(mine.items()) == {"a": 2, "b": 2}
    assert stored_item(session) == {"a": 1, "b": 2}
    mine.save()
    assert stored_item(session) == {"a": 2, "b": 2}


def test_session_that_caught_up_and_changed_nothing_is_not_written_again(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    theirs = save_changes(session, b=2)
    before = stack.sessions()
    mine.catch_up(theirs)
    assert mine.modified
    mine.save()
    assert stack.sessions() == before


def test_replaced_content_is_not_merged(stack: Stack) -> None:
    session = save_session(a=1)
    mine, theirs = SessionStore(session.session_key), open_again(session)
    mine.clear()
    theirs["b"] = 2
    theirs.save()
    mine.catch_up(theirs)
    mine["c"] = 3
    mine.save()
    assert stored_item(session) == {"c": 3}


def test_session_that_caught_up_does_not_go_back(stack: Stack) -> None:
    session = save_session(a=1)
    mine, earlier, later = open_again(session), open_again(session), open_again(session)
    earlier["a"] = 2
    earlier.save()
    later.load()
    later["a"] = 3
    later.save()
    mine.catch_up(later)
    mine.catch_up(earlier)
    assert mine["a"] == 3


def test_session_that_caught_up_and_was_ended_since_is_not_kept_alive(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    theirs = save_changes(session, b=2)
    mine.catch_up(theirs)
    theirs.delete()
    with pytest.raises(UpdateError):
        mine.save()


def test_session_does_not_catch_up_with_one_of_another_key(stack: Stack) -> None:
    mine, theirs = open_again(save_session(a=1)), open_again(save_session(a=2))
    mine.catch_up(theirs)
    assert dict(mine.items()) == {"a": 1}
    assert not mine.modified


def test_session_does_not_catch_up_with_another_users(stack: Stack) -> None:
    session = save_session(**{USER_ID: "1"})
    mine, theirs = open_again(session), open_again(session)
    theirs[USER_ID] = "2"
    theirs.save()
    with pytest.raises(UpdateError):
        mine.catch_up(theirs)
    assert mine[USER_ID] == "1"


def test_direct_load_beside_unsaved_changes_does_not_move_the_baseline(stack: Stack) -> None:
    session = save_session(a=1, b=1)
    mine = open_again(session)
    mine["a"] = 2
    save_changes(session, b=2)
    assert mine.load() == {"a": 1, "b": 2}
    mine.save()
    assert stored_item(session) == {"a": 2, "b": 2}


def test_clear_before_any_read_replaces_everything_even_on_conflict(fake: Stack) -> None:
    session = save_session(a=1)
    mine = SessionStore(session.session_key)
    mine.clear()
    mine["only"] = True
    theirs = open_again(session)

    def save_theirs() -> None:
        fake.dynamodb.heal()
        theirs["b"] = 2
        theirs.save()

    fake.dynamodb.on("PutItem session", after(save_theirs))
    mine.save()
    assert stored_item(session) == {"only": True}


def test_clear_before_any_read_of_an_ended_session_raises_update_error(stack: Stack) -> None:
    session = save_session(a=1)
    mine = SessionStore(session.session_key)
    mine.clear()
    session.delete()
    with pytest.raises(UpdateError):
        mine.save()


def test_merge_across_a_change_of_user_is_refused(stack: Stack) -> None:
    session = save_session(a=1)
    mine, theirs = open_again(session), open_again(session)
    theirs[USER_ID] = "7"
    theirs.save()
    mine["a"] = 2
    with pytest.raises(UpdateError):
        mine.save()
    assert stored_item(session) == {"a": 1, USER_ID: "7"}


def test_session_that_expired_meanwhile_raises_update_error(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    stack.clock.advance(8 * 86400)
    mine["a"] = 2
    with pytest.raises(UpdateError):
        mine.save()


def test_revision_counts_writes_and_every_write_has_a_fresh_salt_and_iv(stack: Stack) -> None:
    session = save_session(a=1)
    seen = set()
    for number in range(2, 5):
        session["a"] = number
        session.save()
        (item,) = stack.sessions().values()
        assert item["revision"] == {"N": str(number)}
        seen |= {item["salt"]["B"], item["iv"]["B"]}
    assert len(seen) == 6


def test_time_is_bounded_not_tries_and_then_the_store_is_unavailable(fake: Stack) -> None:
    steady = FakeClock(0.0)
    install(replace(fake.services, write_queues=WriteQueues(steady)))
    session = save_session(a=0)
    mine = open_again(session)
    rivals = itertools.count()

    def beat() -> None:
        fake.dynamodb.heal()
        with another_process():
            save_changes(session, rival=next(rivals))
        fake.dynamodb.on("PutItem session", after(beat))
        steady.advance(deadline.REQUEST / 50)

    fake.dynamodb.on("PutItem session", after(beat))
    mine["a"] = 1
    with pytest.raises(StoreUnavailable):
        mine.save()
    assert 45 < stored_item(session).pop("rival") < 50
    assert stored_item(session)["a"] == 0
    assert steady.now < deadline.REQUEST


def test_many_threads_save_different_keys_and_none_is_lost(stack: Stack) -> None:
    session = save_session()
    requests = [open_again(session) for _ in range(6)]

    def save(number: int) -> None:
        requests[number][f"key{number}"] = number
        requests[number].save()

    errors = at_once(*(lambda number=number: save(number) for number in range(6)))
    assert errors == [None] * 6
    assert stored_item(session) == {f"key{number}": number for number in range(6)}


def test_two_threads_that_create_one_key_have_one_winner(stack: Stack) -> None:
    key = "k" * 32
    sessions = [SessionStore(), SessionStore()]
    for number, session in enumerate(sessions):
        session["number"] = number
        session._session_key = key
    errors = at_once(*(lambda s=session: s.save(must_create=True) for session in sessions))
    assert sorted(type(error).__name__ for error in errors) == ["CreateError", "NoneType"]


def test_logout_against_save_never_leaves_a_session(stack: Stack) -> None:
    for _ in range(5):
        session = save_session(a=1)
        mine, leaver = open_again(session), open_again(session)
        mine["a"] = 2
        save_error, logout_error = at_once(mine.save, leaver.flush)
        assert logout_error is None
        assert save_error is None or isinstance(save_error, UpdateError)
        assert not SessionStore().exists(session.session_key or "")
    assert stack.sessions() == {}


def test_cycling_against_logout_leaves_at_most_the_moved_session(stack: Stack) -> None:
    for _ in range(5):
        session = save_session(a=1)
        cycler, leaver = open_again(session), open_again(session)
        cycle_error, logout_error = at_once(cycler.cycle_key, leaver.flush)
        assert not SessionStore().exists(session.session_key or "")
        if cycle_error is None:  # It came first; the logout found that the session had moved.
            assert isinstance(logout_error, SessionMoved)
            assert stored_item(cycler) == {"a": 1}
            cycler.delete()
        else:
            assert logout_error is None
            assert isinstance(cycle_error, SessionInterrupted)
    assert stack.sessions() == {}


def test_cycling_of_an_ended_session_is_interrupted_and_revives_nothing(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    session.delete()
    with pytest.raises(SessionInterrupted):
        mine.cycle_key()
    assert stack.sessions() == {}


def test_cycling_keeps_a_token_that_another_request_refreshed(stack: Stack) -> None:
    session = save_session(token="old", a=1)
    cycler = open_again(session)
    save_changes(session, token="new")
    cycler["a"] = 2
    cycler.cycle_key()
    assert stored_item(cycler) == {"token": "new", "a": 2}
    assert not SessionStore().exists(session.session_key or "")


def test_save_after_a_key_change_elsewhere_asks_for_a_retry(stack: Stack) -> None:
    session = save_session(a=1)
    mine, cycler = open_again(session), open_again(session)
    cycler.cycle_key()
    mine["a"] = 2
    with pytest.raises(SessionMoved):
        mine.save()
    assert stored_item(cycler) == {"a": 1}


def test_cycling_against_a_token_change_in_threads_loses_nothing(stack: Stack) -> None:
    for _ in range(5):
        session = save_session(token="old")
        cycler, refresher = open_again(session), open_again(session)
        refresher["token"] = "new"
        cycle_error, refresh_error = at_once(cycler.cycle_key, refresher.save)
        assert cycle_error is None
        if refresh_error is None:
            assert stored_item(cycler) == {"token": "new"}
        else:  # The refresh gets an error, so that its token is not lost silently.
            assert isinstance(refresh_error, SessionMoved)
            assert stored_item(cycler) == {"token": "old"}


def test_error_of_a_moved_session_does_not_refer_to_an_item(stack: Stack) -> None:
    session = save_session(a=1)
    mine = open_again(session)
    open_again(session).cycle_key()
    mine["a"] = 2
    with pytest.raises(SessionMoved) as raised:
        mine.save()
    assert raised.value.__context__ is None


def test_other_requests_see_a_request_as_it_was_when_it_saved(stack: Stack) -> None:
    session = save_session(a=1)
    draft = session._get_pending(session._key, session._repository())
    session[USER_ID] = "9"  # by another of its threads, while this one waits to write
    assert draft.user_id is None
    assert session._codec.loads(draft.payload) == draft.content
