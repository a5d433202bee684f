"""The fleet's moment: read every 30 s, good for 60 s, never backwards, one reader at a time."""

import logging
import threading
from typing import Any

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable, TableUnavailable
from sessions_kms.outages import Outage
from sessions_kms.storage.not_before import NotBefore, known_names, not_before_names_from
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.cutoff_source import CutoffSource
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.sessions import saved_key
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import as_coroutine, run_blocking
from tests.support.clock import FakeClock


@pytest.fixture
def source(clock: FakeClock) -> CutoffSource:
    return CutoffSource(clock, 1000)


def test_first_use_reads(source: CutoffSource) -> None:
    assert source.reads == 0
    assert source.cutoff() == 1000
    assert source.reads == 1


def test_it_is_read_again_at_30_seconds_and_not_before(source: CutoffSource) -> None:
    source.cutoff()
    source.moment = 2000
    source.clock.advance(29.999)
    assert (source.cutoff(), source.reads) == (1000, 1)
    source.clock.advance(0.001)
    assert (source.cutoff(), source.reads) == (2000, 2)


def test_cutoff_never_decreases_whatever_the_table_returns(source: CutoffSource) -> None:
    source.cutoff()
    source.moment = 0  # The item was deleted, or the table restored.
    source.clock.advance(30)
    assert source.cutoff() == 1000


def test_cutoff_raised_during_a_read_stays_raised(clock: FakeClock) -> None:
    def read() -> int:
        view.at_least(100)
        return 0

    view = NotBefore(as_coroutine(read), at_least=0, clock=clock)
    assert run_sync(view.moment()) == 100


def test_setting_applies_if_the_table_has_less(source: CutoffSource, clock: FakeClock) -> None:
    assert run_sync(NotBefore(as_coroutine(source), at_least=5000, clock=clock).moment()) == 5000


@pytest.mark.parametrize("error", [TableUnavailable(), InvalidRecord("notBefore")])
def test_unreadable_cutoff_is_used_for_60_seconds_and_then_unavailable(
    source: CutoffSource, error: Exception
) -> None:
    source.cutoff()
    source.error = error
    source.clock.advance(59.999)
    assert source.cutoff() == 1000
    source.clock.advance(0.001)
    with pytest.raises(TableUnavailable):
        source.cutoff()


def test_cutoff_unreadable_from_the_start_is_unavailable(source: CutoffSource) -> None:
    source.error = TableUnavailable()
    with pytest.raises(TableUnavailable):
        source.cutoff()


def test_log_of_a_first_use_that_fails_has_the_cause(
    source: CutoffSource, caplog: pytest.LogCaptureFixture
) -> None:
    source.error = TableUnavailable()
    source.error.__cause__ = RuntimeError("ResourceNotFoundException")
    with pytest.raises(TableUnavailable) as caught:
        source.cutoff()
    outage = Outage(logging.getLogger("test"), "table", "The session table")
    outage.refused(caught.value)
    assert caplog.messages[0].startswith(
        "RuntimeError: ResourceNotFoundException. The session table cannot be used"
    )


def test_unreadable_it_is_tried_every_5_seconds_while_it_still_serves(source: CutoffSource) -> None:
    source.cutoff()
    source.error = TableUnavailable()
    source.clock.advance(30)
    source.cutoff()
    source.clock.advance(4.999)
    source.cutoff()
    assert source.reads == 2
    source.clock.advance(0.001)
    source.cutoff()
    assert source.reads == 3


def test_it_serves_again_as_soon_as_it_is_readable(source: CutoffSource) -> None:
    source.cutoff()
    source.error = TableUnavailable()
    source.clock.advance(60)
    with pytest.raises(TableUnavailable):
        source.cutoff()
    source.error = None
    assert source.cutoff() == 1000


def test_clock_set_back_makes_it_read_again(source: CutoffSource) -> None:
    source.cutoff()
    source.clock.advance(-3600)
    source.moment = 2000
    assert source.cutoff() == 2000


def test_cached_cutoff_is_one_that_is_not_due_to_be_read(source: CutoffSource) -> None:
    assert source.not_before.cached() is None
    source.cutoff()
    assert source.not_before.cached() == 1000
    source.clock.advance(30)
    assert source.not_before.cached() is None


def test_names_of_cutoffs_are_those_of_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_kms.storage.not_before._sources", [])
    not_before_names_from(lambda: ["google"])
    not_before_names_from(lambda: ["corp", "google"])
    assert known_names() == {"google", "corp"}


@pytest.mark.parametrize(
    ("name", "begins", "command"),
    [
        (None, "The not-before item is ", "end_sessions"),
        ("google", "The not-before item of google is ", "end_sessions --provider"),
    ],
)
def test_cutoff_too_far_ahead_is_reported_with_its_remedy(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, name: str | None, begins: str, command: str
) -> None:
    ahead = int(clock()) + 3600
    source = as_coroutine(lambda: ahead)
    assert run_sync(NotBefore(source, at_least=ahead, clock=clock, name=name).moment()) == 0
    of_setting, of_item = caplog.messages
    assert of_setting == (
        "NOT_BEFORE is 3,600 s ahead of the clock: ignored until it is near. Correct the setting."
    )
    assert of_item.startswith(f"{begins}3,600 s ahead of the clock: ignored until it is near. ")
    assert of_item.endswith(f" {command}` overwrites it.")


@pytest.mark.parametrize("error", [None, TableUnavailable()])
def test_threads_that_wait_for_a_read_share_its_outcome(
    source: CutoffSource, clock: FakeClock, error: TableUnavailable | None
) -> None:
    threads, came = 8, threading.Semaphore(0)

    def slow() -> int:
        for _ in range(threads):
            assert came.acquire(timeout=20)  # Until all others wait for this read.
        return source()

    source.error = error
    not_before = NotBefore(as_coroutine(slow), at_least=0, clock=clock)
    flights: Any = not_before._reading
    enter = flights._enter

    def enter_and_tell(*arguments: Any) -> Any:
        try:
            return enter(*arguments)
        finally:
            came.release()

    flights._enter = enter_and_tell  # a seam for the race
    results = together(threads, lambda _: run_sync(not_before.moment()))
    assert [type(result) for result in results] == [type(error) if error else int] * threads
    assert source.reads == 1


def test_no_thread_waits_for_a_read_while_a_good_moment_is_held(
    source: CutoffSource, clock: FakeClock
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        if source.reads:
            reading.set()
            assert go_on.wait(20)
        return source()

    not_before = NotBefore(as_coroutine(slow), at_least=0, clock=clock)
    run_sync(not_before.moment())
    clock.advance(30)
    thread = threading.Thread(target=run_blocking(not_before.moment))
    thread.start()
    assert reading.wait(10)
    assert run_sync(not_before.moment()) == 1000  # The other one is still reading.
    go_on.set()
    thread.join(10)
    assert source.reads == 2


def item(moment: object, version: int = 1) -> dict[str, dict[str, str]]:
    return {
        "id": {"S": "not-before#django"},
        "version": {"N": str(version)},
        "notBefore": {"N": str(moment)},
    }


def test_cutoff_in_the_table_ends_earlier_sessions_within_30_seconds(stack: Stack) -> None:
    key = saved_key(a=1)
    assert SessionStore(key).get("a") == 1
    stack.put_item(item(int(stack.clock())))
    assert SessionStore(key).get("a") == 1  # Not read again yet.
    stack.clock.advance(30)
    assert SessionStore(key).get("a") is None
    assert not SessionStore().exists(key)
    assert SessionStore(saved_key(a=1)).get("a") == 1


def test_cutoff_in_the_settings_ends_earlier_sessions(
    make_fake: MakeStack, clock: FakeClock
) -> None:
    make_fake(not_before=int(clock()))
    key = saved_key(a=1)
    assert SessionStore(key).get("a") is None
    clock.advance(1)
    assert SessionStore(saved_key(a=1)).get("a") == 1


def test_malformed_item_makes_the_cutoff_unavailable_after_the_cached_one_expired(
    stack: Stack,
) -> None:
    key = saved_key(a=1)
    assert SessionStore(key).get("a") == 1
    stack.put_item(item(1, version=2))
    stack.clock.advance(60)
    with pytest.raises(StoreUnavailable):
        SessionStore(key).get("a")
