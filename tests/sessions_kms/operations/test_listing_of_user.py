"""Lists and counts of a user's sessions: with few reads, and without forged ones."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from sessions_kms.aws.table_client import BotoRequest
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.operations import listing as inspection
from sessions_kms.operations.listing import Count, Inspection
from sessions_kms.services import id_of, services
from sessions_kms.session.links import LINKS
from sessions_kms.storage.not_before import READ_EVERY
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack

NOW = 1_800_000_000
DAY = 86_400


def sign_in_user(**content: Any) -> str:
    """Save a session of user 7; return its id."""
    session = save_session("7", **content)
    return id_of(session.session_key or "")


def listed_ids() -> list[str]:
    return [row.id for row in run_sync(Inspection(services()).list_user_sessions("7")).rows]


def count_calls() -> Count:
    """Count, without which ones that were."""
    return replace(run_sync(Inspection(services()).count_user_sessions("7")), newest=())


def calls(stack: Stack) -> Counter[str]:
    found: list[str] = stack.dynamodb.calls
    return Counter(found)


def calls_in_loop(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the thread of an event loop waits for the table for, from now on."""
    found: list[str] = []
    block = BotoRequest.block

    def noting(self: BotoRequest) -> Any:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            found.append(self._operation)
        return block(self)

    monkeypatch.setattr(BotoRequest, "block", noting)
    return found


def forge(stack: Stack, name: str, of: str, **changed: str) -> None:
    """Put a copy of a record with other numbers, as who can write to the table may."""
    numbers = {attribute: {"N": value} for attribute, value in changed.items()}
    stack.put_item({**stack.items()[of], "id": {"S": name * 43}, **numbers})


def test_only_sessions_of_the_user_are_listed_newest_first(stack: Stack) -> None:
    first = save_session("7")
    stack.clock.advance(10)
    newest = sign_in_user()
    save_session("8")
    rows = run_sync(Inspection(services(), first.session_key).list_user_sessions("7")).rows
    assert [row.id for row in rows] == [newest, id_of(str(first.session_key))]
    assert [row.current for row in rows] == [False, True]
    assert [int(row.created_at.timestamp()) for row in rows] == [NOW + 10, NOW]
    assert int(rows[0].ends_at.timestamp()) == NOW + 10 + 7 * DAY
    assert count_calls() == Count(2, more=False)
    found = run_sync(Inspection(services()).count_user_sessions("7")).newest
    assert [session_id for session_id, _ in found] == listed_ids()


def test_index_is_read_only_as_far_as_is_shown(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "OWNED_ROWS", 3)
    for _ in range(7):
        sign_in_user()
    run_sync(fake.services.not_before.moment())  # Each process asks for it now and then.
    fake.dynamodb.calls.clear()
    assert len(listed_ids()) == 3
    assert calls(fake) == {"Query user": 1, "GetItem session": 3}


def test_count_is_one_call_and_bounded(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "COUNTED", 3)
    for _ in range(3):
        sign_in_user()
    assert count_calls() == Count(3, more=False)
    sign_in_user()
    run_sync(fake.services.not_before.moment())  # Each process asks for it now and then.
    fake.dynamodb.calls.clear()
    assert count_calls() == Count(3, more=True)
    assert calls(fake) == {"Query user": 1}


def test_what_has_ended_hides_no_older_session(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "OWNED_ROWS", 3)
    old = {sign_in_user() for _ in range(2)}
    stack.clock.advance(10)
    for _ in range(3):
        sign_in_user(_session_expiry=10)
    stack.clock.advance(60)
    first = run_sync(Inspection(services()).list_user_sessions("7"))
    assert first.rows == []
    assert {
        row.id for row in run_sync(Inspection(services()).list_user_sessions("7", first.next)).rows
    } == old


def test_what_has_ended_by_its_age_is_not_counted(stack: Stack) -> None:
    sign_in_user()
    stack.clock.advance(7 * DAY - 1)
    assert count_calls() == Count(1, more=False)
    stack.clock.advance(1)
    assert (count_calls(), listed_ids()) == (Count(0, more=False), [])


def test_what_began_before_the_not_before_is_not_counted(make_stack: MakeStack) -> None:
    stack = make_stack(not_before=NOW)
    sign_in_user()
    stack.clock.advance(1)
    sign_in_user()
    assert count_calls() == Count(1, more=False)


@pytest.mark.parametrize("user_id", ["", "x" * 2000, "\ud800"])
def test_user_id_that_cannot_exist_has_no_sessions_to_count(stack: Stack, user_id: str) -> None:
    sign_in_user()
    SessionStore().create()
    assert run_sync(Inspection(services()).count_user_sessions(user_id)) == Count(0, more=False)


@pytest.mark.parametrize(
    "changed",
    [
        {"createdAt": "9" * 30, "ttl": "9" * 31},
        {"createdAt": str(NOW + 301), "ttl": str(NOW + 999)},
        {"createdAt": "9" * 30, "updatedAt": "9" * 30, "ttl": "9" * 31, "keyPeriod": "0"},
        {"keyPeriod": "1"},
    ],
)
def test_record_that_no_process_can_have_sealed_now_is_not_listed(
    stack: Stack, changed: dict[str, str]
) -> None:
    session = sign_in_user()
    forge(stack, "A", session, **changed)
    assert listed_ids() == [session]


def test_record_of_a_time_to_come_is_not_counted(stack: Stack) -> None:
    forge(stack, "A", sign_in_user(), createdAt="9" * 30)
    assert count_calls() == Count(1, more=False)


def test_record_within_the_skew_of_clocks_is_listed(stack: Stack) -> None:
    session = sign_in_user()
    forge(stack, "A", session, createdAt=str(NOW + 300))
    assert listed_ids() == ["A" * 43, session]
    assert count_calls() == Count(2, more=False)


def test_session_that_is_anothers_by_its_record_is_not_listed(fake: Stack) -> None:
    """The index lags behind, and lists what was this person's."""
    mine = sign_in_user()
    fake.dynamodb.stop_index()
    owner = fake.items()[mine]["owner"]["S"]
    fake.put_item({**fake.items()[mine], "owner": {"S": owner.removesuffix("7") + "8"}})
    assert listed_ids() == []


@pytest.mark.parametrize(
    "read",
    [
        lambda steps: steps.list_user_sessions("7"),
        lambda steps: steps.count_user_sessions("7"),
        lambda steps: steps.find_current(),
    ],
    ids=["list", "count", "present"],
)
def test_event_loop_waits_for_nothing_where_the_not_before_must_be_read_again(
    fake: Stack,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Inspection], Coroutine[Any, Any, Any]],
) -> None:
    session = save_session("7")
    fake.clock.advance(READ_EVERY)
    waited = calls_in_loop(monkeypatch)
    found = asyncio.run(read(Inspection(services(), session.session_key)))
    assert found
    assert waited == []


# Those that list a name


NAMES = "a" * 64, "b" * 64


def linked_ids(name: str = NAMES[0]) -> list[str]:
    return run_sync(Inspection(services()).find_linked_ids("7", name))


def test_sessions_that_list_a_name_are_found_among_others_newest_first(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "KEYS", 1)  # on a page
    sign_in_user()
    first = sign_in_user(**{LINKS: [NAMES[0]]})
    sign_in_user(**{LINKS: [NAMES[1]]})
    stack.clock.advance(1)
    second = sign_in_user(**{LINKS: [*NAMES]})
    other = save_session("8", **{LINKS: [NAMES[0]]})
    stack.clock.advance(1)
    sign_in_user()
    others = id_of(str(other.session_key))
    assert linked_ids() == [second, first]
    rows = run_sync(Inspection(services()).read_rows("7", [first, others, second]))
    assert [row.id for row in rows] == [first, second]
    assert ending.end_session(services(), first, user_id="7")
    assert linked_ids() == [second]
    assert linked_ids("c" * 64) == []
    assert run_sync(Inspection(services()).find_linked_ids("", NAMES[0])) == []


def test_finding_them_reads_only_keys_and_a_bounded_number_of_pages(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "KEYS", 2)
    monkeypatch.setattr(inspection, "PAGES_MAX", 3)
    found = [sign_in_user(**{LINKS: [NAMES[0]]})]
    for _ in range(6):
        fake.clock.advance(1)
        found.insert(0, sign_in_user(**{LINKS: [NAMES[0]]}))
    fake.dynamodb.calls.clear()
    assert linked_ids() == found[:6]
    assert calls(fake) == {"Query user": 3, "Query logout": 3}
