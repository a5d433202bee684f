"""One timer for many waits, and each of them bounded."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from gateway_site.transport.alarm import Alarm


class Timer:
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
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, call))
        return self.timers[-1]

    def go_to(self, moment: float) -> None:
        """Have time pass, with all that is due meanwhile."""
        while due := [each for each in self.left() if each.at <= moment]:
            first = min(due, key=lambda each: each.at)
            self.now = first.at
            first.is_cancelled = True
            first.call()
        self.now = moment

    def left(self) -> list[Timer]:
        return [each for each in self.timers if not each.is_cancelled]


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def rung() -> list[float]:
    return []


@pytest.fixture
def alarm(loop: Any, rung: list[float]) -> Alarm:
    return Alarm(loop, lambda: rung.append(loop.now))


def test_it_rings_once_at_its_time(alarm: Alarm, loop: Loop, rung: list[float]) -> None:
    alarm.set(5)
    loop.go_to(4.9)
    assert not rung
    loop.go_to(100)
    assert rung == [5]
    assert not loop.left()


def test_many_waits_make_one_timer(alarm: Alarm, loop: Loop, rung: list[float]) -> None:
    for moment in range(100):
        loop.go_to(moment * 0.01)
        alarm.set(30)
        alarm.unset()
    assert len(loop.timers) == 1
    loop.go_to(100)
    assert not rung
    assert not loop.left()


def test_time_that_is_moved_is_kept(alarm: Alarm, loop: Loop, rung: list[float]) -> None:
    """Later, and earlier."""
    alarm.set(5)
    loop.go_to(3)
    alarm.set(5)
    loop.go_to(7.9)
    assert not rung
    alarm.set(30)
    alarm.set(1)
    loop.go_to(100)
    assert rung == [8.9]
    alarm.set(2)
    loop.go_to(200)
    assert rung == [8.9, 102]


def test_it_is_over_at_its_end(loop: Any) -> None:
    """Nothing keeps who is called, which has the alarm."""

    class Owner:
        def __init__(self) -> None:
            self.alarm = Alarm(loop, self.ring)

        def ring(self) -> None:
            raise AssertionError

    owner = Owner()
    owner.alarm.set(5)
    owner.alarm.end()
    is_there = weakref.ref(owner)
    gc.disable()
    del owner
    gc.enable()
    assert is_there() is None
    loop.go_to(100)


def test_nothing_is_made_after_its_end(alarm: Alarm, loop: Loop) -> None:
    alarm.end()
    alarm.set(5)
    assert not loop.timers
