"""One timer for many waits, and each of them bounded."""

import gc
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

from gateway_site.transport.connection import Timer


class Handle:
    """One of `Loop`'s."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """A clock that is set, and timers that are counted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None], *, context: Context) -> Handle:
        assert not context  # Nothing of the request whose wait it is.
        self.timers.append(Handle(at, call))
        return self.timers[-1]

    def go_to(self, moment: float) -> None:
        """Have time pass, with all that is due meanwhile."""
        while due := [each for each in self.uncancelled_timers() if each.at <= moment]:
            first = min(due, key=lambda each: each.at)
            self.now = first.at
            first.is_cancelled = True
            first.call()
        self.now = moment

    def uncancelled_timers(self) -> list[Handle]:
        return [each for each in self.timers if not each.is_cancelled]


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def rung() -> list[float]:
    return []


@pytest.fixture
def timer(loop: Any, rung: list[float]) -> Timer:
    return Timer(loop, lambda: rung.append(loop.now))


def test_it_rings_once_at_its_time(timer: Timer, loop: Loop, rung: list[float]) -> None:
    timer.start(5)
    loop.go_to(4.9)
    assert not rung
    loop.go_to(100)
    assert rung == [5]
    assert not loop.uncancelled_timers()


def test_many_waits_make_one_timer(timer: Timer, loop: Loop, rung: list[float]) -> None:
    for moment in range(100):
        loop.go_to(moment * 0.01)
        timer.start(30)
        timer.cancel()
    assert len(loop.timers) == 1
    loop.go_to(100)
    assert not rung
    assert not loop.uncancelled_timers()


def test_time_that_is_moved_is_kept(timer: Timer, loop: Loop, rung: list[float]) -> None:
    """Later, and earlier."""
    timer.start(5)
    loop.go_to(3)
    timer.start(5)
    loop.go_to(7.9)
    assert not rung
    timer.start(30)
    timer.start(1)
    loop.go_to(100)
    assert rung == [8.9]
    timer.start(2)
    loop.go_to(200)
    assert rung == [8.9, 102]


def test_it_is_over_at_its_end(loop: Any) -> None:
    """Nothing keeps who is called, which has the timer."""

    class Owner:
        def __init__(self) -> None:
            self.timer = Timer(loop, self.ring)

        def ring(self) -> None:
            raise AssertionError

    owner = Owner()
    owner.timer.start(5)
    owner.timer.close()
    is_there = weakref.ref(owner)
    gc.disable()
    del owner
    gc.enable()
    assert is_there() is None
    loop.go_to(100)


def test_nothing_is_made_after_its_end(timer: Timer, loop: Loop) -> None:
    timer.close()
    timer.start(5)
    assert not loop.timers
