"""Tombstones elsewhere: they are no sessions, and are not deleted before they expire."""

from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from sessions_kms.aws.clock import ServerClock
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.doctor import stored_items
from sessions_kms.exceptions import SessionMoved
from sessions_kms.format.record import TOMBSTONE_LIFETIME, Tombstone
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection
from sessions_kms.operations.purging import Clearing
from sessions_kms.operations.rewrapping import Rewrapping
from sessions_kms.services import Services, id_of, services
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.parametrize("make_stack", ["fake", "servers"], indirect=True)


@pytest.fixture
def moved(stack: Stack) -> tuple[str, str]:
    """Give the old and the new key of a session whose key was changed."""
    session = save_session("7")
    old = str(session.session_key)
    session.cycle_key()
    return old, str(session.session_key)


def test_tombstone_contains_only_its_time(stack: Stack, moved: tuple[str, str]) -> None:
    old, new = moved
    item = stack.items()[id_of(old)]
    now = int(stack.clock())
    assert item == {
        "id": {"S": id_of(old)},
        "version": {"N": "1"},
        "movedAt": {"N": str(now)},
        "ttl": {"N": str(now + 600)},
    }
    assert new not in repr(item)


def test_sessions_of_a_user_are_those_that_live_on(moved: tuple[str, str]) -> None:
    old, new = moved
    assert [each.id for each in run_sync(Inspection(services()).list_user_sessions("7")).rows] == [
        id_of(new)
    ]
    assert not ending.end_session(services(), id_of(old), user_id="7")
    assert ending.end_sessions_of(services(), "7") == 1
    with pytest.raises(SessionMoved):
        SessionStore(old).load()
    assert SessionStore(new).load() == {}


def test_session_that_moves_while_it_is_ended_is_not_reported_as_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_session("7")
    old = id_of(str(session.session_key))
    read = ending.load_head

    def read_then_moved(made: Services, found: str) -> Any:
        record = read(made, found)
        if record is not None and found == old:
            session.cycle_key()
        return record

    monkeypatch.setattr(ending, "load_head", read_then_moved)
    assert not ending.end_session(services(), old, user_id="7")
    assert SessionStore().exists(str(session.session_key))
    old = id_of(str(session.session_key))
    assert ending.end_sessions_of(services(), "7") == 1, "its new key was not found"
    assert stack.sessions() == {}


def test_it_has_no_head_and_is_no_fault(stack: Stack, moved: tuple[str, str]) -> None:
    assert run_sync(stack.services.session_items.head(id_of(moved[0]))) is None


def test_tombstone_expires_only_by_the_date_of_the_last_response_too(stack: Stack) -> None:
    now = int(stack.clock())
    clock = ServerClock(local=lambda: float(now))
    services = replace(stack.services, clock=clock)
    tombstone = Tombstone("a" * 43, now - 20)
    assert not services.is_unsettled(tombstone)
    for _ in range(3):
        clock.observe(formatdate(now, usegmt=True))
    assert not services.is_unsettled(tombstone)
    clock.observe(formatdate(now - 20, usegmt=True))
    assert services.is_unsettled(tombstone)


def test_admin_lists_and_ends_none(moved: tuple[str, str]) -> None:
    old, new = moved
    inspection = Inspection(services())
    assert [row.id for row in inspection.list_table().rows] == [id_of(new)]
    assert run_sync(inspection.find(id_of(old))) is None
    assert not inspection.end(id_of(old))
    with pytest.raises(SessionMoved):
        SessionStore(old).load()


def test_clearing_deletes_it_when_its_time_is_over(stack: Stack, moved: tuple[str, str]) -> None:
    old, _ = moved
    for seconds, there in ((TOMBSTONE_LIFETIME, True), (301, False)):
        stack.clock.advance(seconds)
        clearing = Clearing(services())
        list(clearing.delete_expired(at_most=100))
        assert (id_of(old) in stack.items()) is there
    list(Clearing(services()).delete_created(int(stack.clock())))
    assert stack.sessions() == {}


def test_rewrapping_and_the_doctors_sample_pass_it_over(moved: tuple[str, str]) -> None:
    keyring: Any = None  # No data key is found that would be asked about.
    holders = [
        Rewrapping(services(), keyring)._holder(item)
        for item in run_sync(services().queries.scan()).items
    ]
    assert id_of(moved[0]) not in [holder.item_id for holder in holders if holder]
    seen = stored_items.Sample()
    for item in run_sync(services().queries.scan(whole=True)).items:
        if "#" not in item["id"]["S"]:
            stored_items._add(seen, item)
    assert (len(seen.records), seen.foreign) == (1, 0)
