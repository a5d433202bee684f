"""The remaining time of an attempt, a call and a request."""

import contextvars
from collections.abc import Generator
from threading import Lock
from typing import Any

import pytest

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import HASTY, LEAST, OutOfTime
from tests.support.clock import FakeClock


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock(1000.0)
    monkeypatch.setattr(deadline, "monotonic", clock)
    return clock


def spend_in_call(clock: FakeClock, seconds: float) -> None:
    with deadline.call(3):
        clock.advance(seconds)


def test_figures_are_those_of_the_design() -> None:
    assert tuple(HASTY) == (1, 2, 2.5, 3)
    assert deadline.REQUEST == 4.0


def test_attempt_has_a_second_to_connect_two_of_silence_and_less_than_three_in_all(
    clock: FakeClock,
) -> None:
    with deadline.call(3), deadline.attempting(HASTY) as attempt:
        assert (attempt.to_connect(), attempt.to_write(), attempt.to_read()) == (1, 2.5, 2)
        clock.advance(1)
        with pytest.raises(OutOfTime):
            attempt.to_connect()
        assert attempt.to_read() == 1.5
        attempt.has_response = True
        assert attempt.to_read() == 1.5
        clock.advance(1.5)
        assert attempt.is_over()
        with pytest.raises(OutOfTime):
            attempt.to_read()


def test_silence_is_limited_until_the_first_byte_only() -> None:
    with deadline.attempting(HASTY) as attempt:  # in no call
        assert (attempt.to_write(), attempt.to_read()) == (2.5, 2)
        attempt.has_response = True
        assert attempt.to_read() == 2.5


def test_next_attempt_has_the_remaining_time_of_the_call(clock: FakeClock) -> None:
    with deadline.call(3):
        clock.advance(2.25)
        with deadline.attempting(HASTY) as attempt:
            assert (attempt.to_connect(), attempt.to_write(), attempt.to_read()) == (0.75,) * 3


def test_pause_after_which_no_attempt_could_be_made_is_not_begun(clock: FakeClock) -> None:
    with deadline.call(3):
        clock.advance(2)
        assert deadline.has_time_for(0.75)
        assert not deadline.has_time_for(1)
        clock.advance(1)
        with pytest.raises(OutOfTime), deadline.attempting(HASTY):
            pytest.fail("an attempt was begun")


def test_tenth_of_a_second_is_enough_for_another_attempt(clock: FakeClock) -> None:
    clock.now = 0.0  # so that differences are exact
    with deadline.request(LEAST):
        with deadline.call(3):
            assert deadline.has_time_for(0)
            with deadline.call(3):
                deadline.charge_queueing(1)
        deadline.charge_queueing(0)
    with deadline.call(5 * LEAST):
        assert deadline.has_time_for(4 * LEAST)


def test_only_the_waits_of_a_request_are_summed_up(clock: FakeClock) -> None:
    with deadline.request():
        for _ in range(3):
            spend_in_call(clock, 1)
            clock.advance(100)
        with deadline.call(3):
            assert deadline.call_left() == 1
            clock.advance(1)
        with pytest.raises(OutOfTime), deadline.call(3):
            pytest.fail("a call was begun")


def test_call_within_another_ends_with_it_and_is_counted_once(clock: FakeClock) -> None:
    with deadline.request():
        with deadline.call(3):
            clock.advance(2)
            with deadline.call(3):
                assert deadline.call_left() == 1
                clock.advance(0.95)
            with pytest.raises(OutOfTime), deadline.call(3):
                pytest.fail("a call was begun")
        assert deadline.budget_left() == pytest.approx(4 - 2.95)


def test_waits_at_the_same_time_count_once(clock: FakeClock) -> None:
    """Fifty tasks that wait for one load have waited for one load."""
    with deadline.request():
        waits = [deadline.waiting() for _ in range(50)]
        for each in waits[1:]:
            each.__enter__()
        clock.advance(0.5)
        with deadline.call(3):
            clock.advance(0.5)
        with waits[0]:
            assert deadline.budget_left() == 3
            for each in waits[1:]:
                each.__exit__(None, None, None)
            clock.advance(0.5)
        assert deadline.budget_left() == 2.5
        clock.advance(100)
        assert deadline.budget_left() == 2.5


def test_commands_have_no_sum(clock: FakeClock) -> None:
    for _ in range(100):
        spend_in_call(clock, 3)


def test_work_after_the_response_has_no_budget(clock: FakeClock) -> None:
    """A stream outlives the middleware, in a context that was copied within the request."""
    with deadline.request():
        spend_in_call(clock, 3)
        stream = contextvars.copy_context()
    for _ in range(100):
        stream.run(spend_in_call, clock, 3)


def test_request_within_a_request_has_the_outer_one_s_sum(clock: FakeClock) -> None:
    with deadline.request():
        with deadline.request():
            spend_in_call(clock, 3)
        assert deadline.budget_left() == 1


@pytest.mark.parametrize("in_request", [True, False])
def test_work_that_waited_too_long_in_a_queue_is_not_begun(in_request: bool) -> None:
    def queue(seconds: float) -> None:
        deadline.charge_queueing(seconds)

    def all_of_it() -> None:
        queue(3)
        with pytest.raises(OutOfTime):
            queue(4)

    if in_request:
        with deadline.request():
            all_of_it()
    else:
        all_of_it()


def test_queue_leaves_what_the_request_had_before() -> None:
    with deadline.request(1), pytest.raises(OutOfTime):
        deadline.charge_queueing(0.95)


def test_queue_within_a_call_is_charged_once(clock: FakeClock) -> None:
    with deadline.request():
        with deadline.call(3):
            clock.advance(1)
            deadline.charge_queueing(1)
        assert deadline.budget_left() == 3


def test_queue_within_a_call_that_has_nothing_left_begins_nothing(clock: FakeClock) -> None:
    with deadline.call(3):
        clock.advance(3)
        with pytest.raises(OutOfTime):
            deadline.charge_queueing(3)


def test_call_that_is_closed_elsewhere_is_charged_to_its_own_request(clock: FakeClock) -> None:
    """Steps that nobody resumes are closed by the collector, in whatever context is there."""

    def begin() -> Generator[None, None, None]:
        with deadline.request(), deadline.call(3):
            yield

    abandoned = begin()
    contextvars.Context().run(next, abandoned)
    clock.advance(3)
    with deadline.request():
        abandoned.close()
        assert deadline.budget_left() == deadline.REQUEST
        assert deadline.call_left() is None


def test_held_lock_is_waited_for_as_long_as_the_request_may() -> None:
    lock = Lock()
    with deadline.request(0.2):
        assert deadline.acquire(lock)
        deadline.spend(0.15)
        assert not deadline.acquire(lock)
    lock.release()
    with deadline.request(0):
        assert deadline.acquire(lock)  # Nobody holds it: that is no wait.


class HeldLock:
    """A lock that another thread holds, and gives up at last."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            self.timeouts.append(timeout)
        return blocking


def test_held_lock_is_waited_for_as_long_as_the_shorter_limit() -> None:
    lock: Any = HeldLock()
    assert deadline.acquire(lock)
    assert deadline.acquire(lock, 3)
    with deadline.request(2):
        assert deadline.acquire(lock)
        assert deadline.acquire(lock, 1)
        assert deadline.acquire(lock, 3)
    assert lock.timeouts == [-1, 3, 2, 1, 2]
