"""Steps give the same in a thread and in an event loop, and end wherever they are cancelled."""

import asyncio
import gc
import weakref
from contextlib import suppress
from threading import current_thread, main_thread

import pytest

from sessions_kms.concurrency import deadline, steps
from sessions_kms.concurrency.steps import BlockingCall, Pause, run_sync
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.support.drivers import DRIVERS
from tests.sessions_kms.support.stepping import Driver


def halved(number: int) -> int:
    if number % 2:
        raise ValueError(number)
    return number // 2


async def halving(number: int) -> list[int]:
    """Halve until it is odd, which is told by the error."""
    found = [number]
    try:
        while True:
            await Pause(0)
            found.append(await BlockingCall(halved, (found[-1],)))
    except ValueError:
        return found


@DRIVERS
def test_outcomes_are_sent_and_errors_are_thrown_into_the_steps(drive: Driver) -> None:
    assert drive(halving(12)) == [12, 6, 3]


async def twice(number: int) -> list[int]:
    first = await halving(number)
    return first + await halving(number + 4)


@DRIVERS
def test_steps_are_made_of_steps(drive: Driver) -> None:
    assert drive(twice(2)) == [2, 1, 6, 3]


async def failing() -> None:
    await BlockingCall(halved, (1,))


@DRIVERS
def test_error_that_the_steps_let_pass_is_raised(drive: Driver) -> None:
    with pytest.raises(ValueError, match="1"):
        drive(failing())


@DRIVERS
def test_steps_that_wait_for_nothing_are_done(drive: Driver) -> None:
    async def at_once() -> int:
        return 7

    assert drive(at_once()) == 7


def test_event_loop_makes_a_blocking_call_in_a_thread() -> None:
    async def there() -> bool:
        is_here: bool = await BlockingCall(lambda: current_thread() is main_thread())
        return is_here

    assert run_sync(there())
    assert not asyncio.run(there())


def test_cancelled_task_ends_its_steps_where_they_wait() -> None:
    ended = []

    async def waiting() -> None:
        try:
            await Pause(3600)
        finally:
            ended.append(True)

    async def cancelled() -> None:
        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert ended == [True]


def test_call_that_waits_for_a_thread_too_long_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([0.0, deadline.REQUEST])
    monkeypatch.setattr(steps, "monotonic", lambda: next(moments))
    begun: list[int] = []

    async def calling() -> None:
        await BlockingCall(begun.append, (1,))

    with pytest.raises(StoreUnavailable):
        asyncio.run(calling())
    assert begun == []


def test_repr_of_a_call_shows_no_argument() -> None:
    assert "secret" not in repr(BlockingCall(print, ("secret",)))


@DRIVERS
def test_error_that_follows_one_that_was_dealt_with_does_not_drag_it_along(drive: Driver) -> None:
    async def going_on() -> None:
        with suppress(ValueError):
            await BlockingCall(halved, (1,))
        raise KeyError("another")

    with pytest.raises(KeyError) as raised:
        drive(going_on())
    assert raised.value.__context__ is None


def test_error_goes_once_nobody_has_it() -> None:
    class Gone(Exception):
        pass

    def fail() -> None:
        raise Gone

    async def steps() -> None:
        await BlockingCall(fail)

    def attempt() -> "weakref.ref[Gone]":
        try:
            run_sync(steps())
        except Gone as exc:
            return weakref.ref(exc)
        raise AssertionError

    gc.disable()
    try:
        assert attempt()() is None
    finally:
        gc.enable()
