"""Codes and answers are deleted on time, by the process that wrote them."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from oauth.clients import grant_end, timed_deletions
from oauth.clients.timed_deletions import MARGIN, TimedDeletions
from sessions_kms import StoreUnavailable
from sessions_kms.services import Services
from tests.oauth.support.grants import GrantWorld
from tests.support.clock import FakeClock

Deleted = list[tuple[str, int]]


@pytest.fixture
def services(one: GrantWorld) -> Services:
    return one.grants.services


@pytest.fixture
def deleted(monkeypatch: pytest.MonkeyPatch) -> Deleted:
    found: Deleted = []

    def delete(_: Services, ids: list[str], *, ended_by: int) -> None:
        found.extend((each, ended_by) for each in ids)

    monkeypatch.setattr(timed_deletions, "delete_items_soon", delete)
    return found


def test_items_are_deleted_in_the_order_of_their_ends(
    one: GrantWorld, services: Services, deleted: Deleted
) -> None:
    clock, started = FakeClock(0), list[Callable[[], None]]()
    waiting, now = TimedDeletions(monotonic=clock, start=started.append), int(one.clock())
    for name, ends_in in (("late", 150), ("soon", 60), ("over", -5)):
        assert waiting.add(services, name, now + ends_in)
    assert len(started) == 1, "one thread"
    clock.advance(1)
    assert waiting.delete_due() == 60 + MARGIN - 1
    assert deleted == [("over", now)]
    for seconds in (60, 90):
        clock.advance(seconds)
        one.clock.advance(seconds)
        waiting.delete_due()
    assert deleted[1:] == [("soon", now + 60), ("late", now + 150)]
    assert waiting.delete_due() is None


def test_memory_is_bounded(
    services: Services, deleted: Deleted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_deletions, "WAITING_MAX", 3)
    waiting = TimedDeletions(monotonic=FakeClock(0), start=lambda _: None)
    assert [waiting.add(services, str(each), 0) for each in range(5)] == [True] * 3 + [False] * 2


def test_items_that_are_no_secrets_leave_half_of_the_places(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short grants of many users would otherwise leave codes and responses in the table."""
    waiting = TimedDeletions(monotonic=FakeClock(0), start=lambda _: None)
    monkeypatch.setattr(timed_deletions, "WAITING_MAX", 4)
    monkeypatch.setattr(timed_deletions, "_waiting", waiting)
    for each in range(5):
        timed_deletions.delete_once_ended(services, f"grant {each}", 0, is_secret=False)
    assert len(waiting) == 2
    for each in range(5):
        timed_deletions.delete_once_ended(services, f"code {each}", 0)
    assert len(waiting) == 4


def test_process_without_threads_loses_the_deletion_and_nothing_else(
    services: Services, deleted: Deleted
) -> None:
    def refuse(_: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    waiting = TimedDeletions(monotonic=FakeClock(0), start=refuse)
    assert waiting.add(services, "item", 0)
    assert waiting.delete_due(also_later=True) is None
    assert [each for each, _ in deleted] == ["item"]


@pytest.mark.parametrize("error", [StoreUnavailable, RuntimeError])
def test_deletion_that_cannot_begin_does_not_stop_the_next(
    services: Services, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    tried: list[str] = []

    def fail(_: Services, ids: list[str], *, ended_by: int) -> None:
        tried.extend(ids)
        raise error

    monkeypatch.setattr(timed_deletions, "delete_items_soon", fail)
    waiting = TimedDeletions(monotonic=FakeClock(0), start=lambda _: None)
    for each in ("one", "two"):
        waiting.add(services, each, 0)
    waiting.delete_due()
    assert tried == ["one", "two"]


def test_thread_deletes_without_being_asked(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(timed_deletions, "delete_items_soon", lambda *_, **__: done.set())
    waiting = TimedDeletions()
    assert waiting.add(services, "item", int(services.clock()) - MARGIN - 1)
    assert done.wait(30)


def test_item_that_was_renewed_meanwhile_stays(one: GrantWorld) -> None:
    """A code's item ends with the grant once the code is redeemed."""
    code = one.allow()
    issued = one.redeem(code)
    one.clock.advance(61)
    timed_deletions._waiting.delete_due(also_later=True)
    assert grant_end.drain_deletions(10)
    assert one.kinds().count("token") == 3
    assert one.lives(issued)


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import django; django.setup()\n" + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_exit_does_not_wait_for_later_deletions() -> None:
    program = (
        "import time\n"
        "from types import SimpleNamespace\n"
        "from oauth.clients.timed_deletions import delete_once_ended\n"
        "delete_once_ended(SimpleNamespace(clock=time.time), 'item', int(time.time()) + 150)\n"
        "print('ends')"
    )
    done = run_program(program)
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NO FORK")
def test_forked_child_deletes_what_it_writes_and_nothing_of_its_parent() -> None:
    program = (
        "import os\n"
        "from types import SimpleNamespace\n"
        "from oauth.clients import timed_deletions\n"
        "services = SimpleNamespace(clock=lambda: 1000.0)\n"
        "timed_deletions.delete_once_ended(services, 'of the parent', 1000)\n"
        "child = os.fork()\n"
        "if child:\n"
        "    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "found = []\n"
        "timed_deletions.delete_items_soon = lambda _, ids, ended_by: found.extend(ids)\n"
        "timed_deletions.delete_once_ended(services, 'of the child', 1150)\n"
        "timed_deletions._waiting.delete_due(also_later=True)\n"
        "os._exit(0 if found == ['of the child'] else 1)\n"
    )
    done = run_program(program)
    assert done.returncode == 0, done.stderr
