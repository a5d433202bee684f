"""Who leads a queue of writes, who waits for how long, and when other processes come first."""

import random
from contextvars import Context
from typing import Any

import pytest

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import LEAST, OutOfTime
from sessions_kms.concurrency.waits import Event, is_held_here, run_sync
from sessions_kms.concurrency.write_queue import (
    BUSY,
    PAUSE,
    PAUSE_MAX,
    REST_MAX,
    RESTING_MAX,
    RETRY_BUDGET,
    WAITING_MAX,
    WEIGHT,
    RetryBudget,
    Waiter,
    WriteQueues,
)
from sessions_kms.exceptions import StoreUnavailable
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0.0)  # so that differences are exact


@pytest.fixture
def queues(clock: FakeClock) -> WriteQueues[str]:
    return WriteQueues(clock)


@pytest.fixture
def other() -> Context:
    """Give the context of another task: in that of a leader, who joins again does not wait."""
    return Context()


def is_leader(waiter: Waiter[str]) -> bool:
    return run_sync(waiter.wait_to_lead())


def test_budget_is_the_shorter_of_its_own_and_the_requests(clock: FakeClock) -> None:
    budget = RetryBudget(clock)
    assert budget.remaining() == RETRY_BUDGET
    with deadline.request(RETRY_BUDGET + 1):
        clock.advance(1)
        assert budget.remaining() == RETRY_BUDGET - 1
        deadline.spend(RETRY_BUDGET)
        assert budget.remaining() == pytest.approx(1)
        assert not budget.is_exhausted
        deadline.spend(1)
        assert budget.is_exhausted


def test_tenth_of_a_second_is_enough_for_another_attempt(clock: FakeClock) -> None:
    budget = RetryBudget(clock)
    clock.now = RETRY_BUDGET - 2 * LEAST
    with deadline.request(LEAST):
        assert not budget.is_exhausted
    clock.now = RETRY_BUDGET - LEAST / 2
    assert budget.is_exhausted


def test_pauses_double_up_to_a_maximum_and_end_with_the_budget(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowest: list[float] = []

    def longest(low: float, high: float) -> float:
        lowest.append(low)
        return high

    monkeypatch.setattr(random, "uniform", longest)
    budget = RetryBudget(clock)
    found = [budget.next_pause() for _ in range(20)]
    assert found[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert found[-1] == PAUSE_MAX == max(found)
    assert set(lowest) == {0}
    clock.now = RETRY_BUDGET - PAUSE_MAX / 2
    assert budget.next_pause() == pytest.approx(PAUSE_MAX / 2)
    clock.advance(PAUSE_MAX)
    assert budget.next_pause() == 0


def test_first_leads_and_the_next_takes_over_when_it_leaves(
    queues: WriteQueues[str], other: Context
) -> None:
    first, second = queues.join("a", "1"), other.run(queues.join, "a", "2")
    assert (first.was_queued, second.was_queued) == (False, True)
    assert is_leader(first)
    assert [each.work for each in first.queue.waiting()] == ["1", "2"]
    first.leave()
    assert not is_held_here(first)
    assert not other.run(is_held_here, second)
    assert other.run(is_leader, second)
    assert other.run(is_held_here, second)
    assert other.run(is_leader, second)
    other.run(second.leave)
    assert not other.run(is_held_here, second)
    assert len(queues) == 0


def test_leader_whose_work_is_done_still_comes_first(
    queues: WriteQueues[str], other: Context
) -> None:
    """It still deletes what its save replaced; a save that blocks its event loop would deadlock."""
    first, second = queues.join("a", "1"), other.run(queues.join, "a", "2")
    first.thread, second.thread = 1, 2
    first.settle()
    assert first.queue.threads_before(second) == {1}
    first.leave()
    assert second.queue.threads_before(second) == set()
    other.run(second.leave)


def test_waiter_whose_work_the_leader_did_does_not_lead(
    queues: WriteQueues[str], other: Context
) -> None:
    first, second = queues.join("a", "1"), other.run(queues.join, "a", "2")
    second.settle()
    assert second._event is not None
    assert second._event.is_set, "it waits no longer"
    assert first.queue.waiting() == [first]
    assert not other.run(is_leader, second)
    assert not other.run(is_held_here, second)
    first.settle()
    assert not is_leader(first)
    first.leave()
    second.leave()
    assert len(queues) == 0


def test_waiter_whose_work_is_done_while_it_waits_does_not_lead(
    queues: WriteQueues[str], other: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues.join("a", "1")
    second = other.run(queues.join, "a", "2")

    async def wait(waiter: Waiter[str], _: Event) -> bool:
        waiter.settle()
        return True

    monkeypatch.setattr(Waiter, "_sleep", wait)
    assert not other.run(is_leader, second)


def test_waiter_out_of_time_does_not_lead(
    queues: WriteQueues[str], clock: FakeClock, other: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float | None] = []
    wait = Event.wait

    def note(event: Event, seconds: float | None, behind: Any = ()) -> Any:
        waited.append(seconds)
        return wait(event, seconds, behind)

    monkeypatch.setattr(Event, "wait", note)
    queues.join("a", "1")
    second = other.run(queues.join, "a", "2")
    for passed in (1.0, RETRY_BUDGET):
        clock.advance(passed)
        with pytest.raises(OutOfTime):
            is_leader(second)
    assert waited == [RETRY_BUDGET - 1, 0]
    with deadline.request(0), pytest.raises(OutOfTime):
        is_leader(second)
    assert len(waited) == 2


def test_leader_that_joins_again_gets_a_queue_of_its_own(queues: WriteQueues[str]) -> None:
    first = queues.join("a", "1")
    queues.latency = REST_MAX
    queues.yield_to_others("a")
    again, third = queues.join("a", "2"), queues.join("a", "3")
    assert [again.queue.pause(), third.queue.pause()] == [REST_MAX] * 2
    assert is_leader(again)
    assert is_leader(third)
    assert len({id(each.queue) for each in (first, again, third)}) == 3
    again.leave()
    third.leave()
    assert len(queues) == 1
    first.leave()
    assert len(queues) == 0


def test_full_queue_takes_nobody(queues: WriteQueues[str]) -> None:
    for _ in range(WAITING_MAX):
        Context().run(queues.join, "a", "1")
    with pytest.raises(StoreUnavailable, match=BUSY):
        queues.join("a", "one more")
    queues.join("b", "1")


def test_latency_follows_the_last_writes(queues: WriteQueues[str]) -> None:
    queues.note_latency(0.5)
    assert queues.latency == 0.5
    queues.note_latency(1.5)
    assert queues.latency == 0.5 + WEIGHT


def test_others_may_write_for_as_long_as_one_write_after_a_contended_one(
    queues: WriteQueues[str], clock: FakeClock
) -> None:
    queue = queues.join("a", "1").queue
    queues.note_latency(0.25 * REST_MAX)
    queue.note_write()
    assert queue.pause() == 0
    queue.is_contended = True
    queue.note_write()
    assert (queue.pause(), queue.is_contended) == (0.25 * REST_MAX, False)
    clock.advance(0.125 * REST_MAX)
    queue.note_write()
    assert queue.pause() == 0.125 * REST_MAX
    clock.advance(REST_MAX)
    assert queue.pause() == 0
    queues.latency = 2 * REST_MAX
    queues.yield_to_others("a")
    assert queue.pause() == REST_MAX


def test_oldest_and_ended_rests_are_forgotten(queues: WriteQueues[str], clock: FakeClock) -> None:
    queues.latency = REST_MAX
    for number in range(RESTING_MAX):
        queues.yield_to_others(str(number))
    queues.yield_to_others("0")  # the youngest again
    assert queues.pause("1") == REST_MAX
    queues.yield_to_others("one more")
    assert [queues.pause(name) for name in ("1", "2", "0")] == [0, REST_MAX, REST_MAX]
    clock.advance(REST_MAX)
    queues.yield_to_others("later")
    assert list(queues._rests) == ["later"]
