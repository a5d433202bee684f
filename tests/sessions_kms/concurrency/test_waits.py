"""Coroutines do the same in threads and in event loops, and end wherever they are cancelled."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event as ThreadEvent
from threading import current_thread, main_thread
from typing import Any

import pytest

from sessions_kms.concurrency import deadline, waits
from sessions_kms.concurrency.waits import (
    BlockingCall,
    CoroutineLock,
    Event,
    Pause,
    Wait,
    run_sync,
)
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.support.drivers import DRIVERS
from tests.sessions_kms.support.quiet import shown_frames
from tests.sessions_kms.support.stepping import WITHIN, Driver, in_time, run_blocking


def halve(number: int) -> int:
    if number % 2:
        raise ValueError(number)
    return number // 2


async def halve_until_one(number: int) -> list[int]:
    """Halve until it is odd; the error contains the number."""
    found = [number]
    try:
        while True:
            await Pause(0)
            found.append(await BlockingCall(halve, (found[-1],)))
    except ValueError:
        return found


@DRIVERS
def test_outcomes_are_returned_and_errors_raised_where_they_are_awaited(drive: Driver) -> None:
    assert drive(halve_until_one(12)) == [12, 6, 3]


async def twice(number: int) -> list[int]:
    first = await halve_until_one(number)
    return first + await halve_until_one(number + 4)


@DRIVERS
def test_coroutines_await_coroutines(drive: Driver) -> None:
    assert drive(twice(2)) == [2, 1, 6, 3]


async def raise_error() -> None:
    await BlockingCall(halve, (1,))


@DRIVERS
def test_unhandled_error_is_raised(drive: Driver) -> None:
    with pytest.raises(ValueError, match="1"):
        drive(raise_error())


@DRIVERS
def test_coroutine_that_waits_for_nothing_is_run(drive: Driver) -> None:
    async def at_once() -> int:
        return 7

    assert drive(at_once()) == 7


def test_event_loop_makes_a_blocking_call_in_a_thread() -> None:
    async def there() -> bool:
        is_here: bool = await BlockingCall(lambda: current_thread() is main_thread())
        return is_here

    assert run_sync(there())
    assert not asyncio.run(there())


def test_cancelled_task_ends_its_coroutine_where_it_waits() -> None:
    ended = []

    async def waiting() -> None:
        try:
            await Pause(3600)
        finally:
            ended.append(True)

    async def cancel() -> None:
        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert ended == [True]


def test_call_that_waits_for_a_thread_too_long_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([0.0, deadline.REQUEST])
    monkeypatch.setattr(waits, "monotonic", lambda: next(moments))
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
            await BlockingCall(halve, (1,))
        raise KeyError("another")

    with pytest.raises(KeyError) as raised:
        drive(going_on())
    assert raised.value.__context__ is None


def test_error_is_freed_when_unreferenced() -> None:
    class Gone(Exception):
        pass

    def fail() -> None:
        raise Gone

    async def failing() -> None:
        await BlockingCall(fail)

    def attempt() -> "weakref.ref[Gone]":
        try:
            run_sync(failing())
        except Gone as exc:
            return weakref.ref(exc)
        raise AssertionError

    gc.disable()
    try:
        assert attempt()() is None
    finally:
        gc.enable()


# Which way: whether an event loop runs in this thread


class Seen(Wait):
    """Tells how it was waited for."""

    def block(self) -> str:
        return "blocked"

    async def suspend(self) -> str:
        await asyncio.sleep(0)
        return "suspended"


class During(Wait):
    """Calls something while it blocks, as a signal receiver or a log handler would."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def block(self) -> Any:
        return self.call()


async def current_value() -> str:
    told: str = await Seen()
    return told


async def values_during(call: Callable[[], Any]) -> list[Any]:
    return [await During(call), await Seen()]


def test_thread_blocks_and_event_loop_suspends() -> None:
    assert run_sync(current_value()) == "blocked"
    assert asyncio.run(current_value()) == "suspended"


def test_run_sync_blocks_within_the_thread_of_a_loop_and_only_its_own_task() -> None:
    async def within() -> list[Any]:
        other = asyncio.create_task(current_value())
        nested = run_sync(values_during(lambda: asyncio.create_task(current_value())))
        in_thread = await asyncio.to_thread(lambda: run_sync(current_value()))
        return [
            run_sync(current_value()),
            await current_value(),
            await other,
            await nested[0],
            nested[1],
            in_thread,
        ]

    expected = ["blocked", "suspended", "suspended", "suspended", "blocked", "blocked"]
    assert asyncio.run(within()) == expected


def test_run_sync_blocks_in_a_callback_that_is_no_task() -> None:
    async def within() -> str:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()
        loop.call_soon(lambda: done.set_result(run_sync(current_value())))
        return await done

    assert asyncio.run(within()) == "blocked"


def test_event_loop_that_is_started_within_run_sync_suspends() -> None:
    assert run_sync(values_during(lambda: asyncio.run(current_value()))) == ["suspended", "blocked"]


def test_run_sync_in_a_thread_that_a_blocked_loop_waits_for_blocks() -> None:
    def elsewhere() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(
                run_sync, values_during(lambda: asyncio.run(current_value()))
            ).result()

    async def within() -> list[Any]:
        return run_sync(values_during(elsewhere))

    assert asyncio.run(within()) == [["suspended", "blocked"], "blocked"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_task_that_is_made_within_run_sync_suspends() -> None:
    async def within() -> str:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        task: asyncio.Task[str]
        task, _ = run_sync(values_during(lambda: asyncio.create_task(current_value())))
        assert not task.done()
        return await task

    assert asyncio.run(within()) == "suspended"


def test_run_sync_within_run_sync_leaves_the_outer_one_blocking() -> None:
    async def twice_seen() -> list[str]:
        return [run_sync(current_value()), await current_value()]

    async def within() -> list[str]:
        return run_sync(twice_seen())

    assert asyncio.run(within()) == ["blocked", "blocked"]


def test_frames_of_waits_show_no_coroutine() -> None:
    """Their variables include the coroutine, whose arguments may be secret."""

    async def wrong() -> None:
        await BlockingCall(sorted, (1,))

    assert shown_frames(lambda: run_sync(wrong()), waits) == {"block"}


def test_error_within_run_sync_leaves_the_loop_as_it_was() -> None:
    async def within() -> str:
        with pytest.raises(ValueError, match="1"):
            run_sync(raise_error())
        return await current_value()

    assert asyncio.run(within()) == "suspended"


@pytest.mark.parametrize("in_loop", [False, True], ids=["thread", "loop"])
def test_what_only_an_event_loop_has_cannot_be_awaited_in_a_thread(in_loop: bool) -> None:
    ended = []

    async def sleeping() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    async def within() -> None:
        run_sync(sleeping())

    with pytest.raises(RuntimeError, match="other than a Wait"):
        asyncio.run(within()) if in_loop else run_sync(sleeping())
    assert ended == [True]


def test_traceback_of_a_blocked_call_is_that_of_plain_calls() -> None:
    with pytest.raises(ValueError, match="1") as raised:
        run_sync(raise_error())
    ours = [each.name for each in raised.traceback if "concurrency" in str(each.path)]
    assert ours[1:] == ["run_sync", "raise_error", "__await__", "block", "halve"]


@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_coroutine_that_is_never_awaited_warns(recwarn: pytest.WarningsRecorder) -> None:
    """Warnings fail a test, so that a forgotten await does."""
    halve_until_one(2)  # type: ignore[unused-coroutine]
    gc.collect()
    assert ["never awaited" in str(each.message) for each in recwarn] == [True]


async def hold(lock: CoroutineLock, hand_over: asyncio.Event) -> None:
    await lock.acquire()
    try:
        await hand_over.wait()
    finally:
        lock.release()


@pytest.mark.parametrize("seconds", [None, WITHIN * 2], ids=["no limit", "limit"])
def test_run_sync_in_a_loop_does_not_wait_for_a_lock_of_another_task(seconds: float | None) -> None:
    """That task cannot go on, and neither can any other: the loop would stand still."""

    async def within() -> list[str]:
        lock, hand_over, found = CoroutineLock(), asyncio.Event(), list[str]()
        holder = asyncio.create_task(hold(lock, hand_over))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            run_sync(lock.acquire(seconds))
        found.append("rejected")
        hand_over.set()
        await holder
        run_sync(lock.acquire(seconds))
        found.append("acquired")
        return found

    assert in_time(lambda: asyncio.run(within())) == ["rejected", "acquired"]


@contextmanager
def held_by_a_thread(lock: CoroutineLock, release: Event) -> Iterator[None]:
    """Have another thread hold a lock until it is to release it, or the block ends."""
    held = ThreadEvent()

    async def hold_until_told() -> None:
        await lock.acquire()
        held.set()
        await release.wait(WITHIN)
        lock.release()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run_blocking(hold_until_told))
        assert held.wait(WITHIN)
        try:
            yield
        finally:
            release.set()


def test_run_sync_in_a_loop_does_not_wait_behind_another_task_of_the_loop() -> None:
    """A thread holds the lock, but the task would get it first."""
    lock, release = CoroutineLock(), Event()

    async def within() -> str:
        other = asyncio.create_task(hold(lock, hand_over := asyncio.Event()))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            run_sync(lock.acquire())
        release.set()
        hand_over.set()
        await other
        return "over"

    with held_by_a_thread(lock, release):
        assert in_time(lambda: asyncio.run(within())) == "over"


def test_run_sync_in_a_loop_waits_for_a_lock_of_another_thread() -> None:
    lock, release = CoroutineLock(), Event()

    class Releasing(Wait):
        """Has the thread release the lock once this one waits for it."""

        def block(self) -> None:
            release.set()

    async def acquire() -> str:
        await Releasing()
        await lock.acquire()
        return "acquired"

    async def within() -> str:
        return run_sync(acquire())

    with held_by_a_thread(lock, release):
        assert in_time(lambda: asyncio.run(within())) == "acquired"


async def test_lock_that_is_waited_for_too_long_is_left_to_its_holder() -> None:
    lock = CoroutineLock()
    holder = asyncio.create_task(hold(lock, hand_over := asyncio.Event()))
    patient = asyncio.create_task(enter_in_time(lock))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await lock.acquire(0.05)
    assert not lock.acquire_nowait()
    await asyncio.wait([patient], timeout=0.05)
    assert not patient.done()
    hand_over.set()
    await holder
    await patient
    assert not lock.is_locked


async def enter_in_time(lock: CoroutineLock) -> None:
    await lock.acquire(WITHIN)
    lock.release()


async def test_lock_that_is_passed_on_is_held_at_once_and_not_entered_twice() -> None:
    lock = CoroutineLock()
    holder = asyncio.create_task(hold(lock, hand_over := asyncio.Event()))
    await asyncio.sleep(0)
    waiter = asyncio.ensure_future(enter_twice(lock))
    await asyncio.sleep(0)
    hand_over.set()
    await holder
    assert lock.is_locked
    assert not lock.acquire_nowait()
    await waiter
    assert not lock.is_locked


async def enter_twice(lock: CoroutineLock) -> None:
    await lock.acquire()
    async with asyncio.timeout(WITHIN):
        with pytest.raises(StoreUnavailable):
            await lock.acquire()
    lock.release()


async def test_request_without_time_does_not_get_a_lock_that_another_holds() -> None:
    lock = CoroutineLock()
    holder = asyncio.create_task(hold(lock, hand_over := asyncio.Event()))
    await asyncio.sleep(0)
    with deadline.request(0), pytest.raises(StoreUnavailable):
        await lock.acquire()
    assert not waits.is_held_here(lock)
    hand_over.set()
    await holder


def test_what_is_held_is_known_whatever_is_left_first() -> None:
    things = first, second, other = object(), object(), object()

    def hold() -> list[bool]:
        return [waits.is_held_here(each) for each in things]

    waits.unmark_held(other)
    for each in (first, second):
        waits.mark_held(each)
    waits.unmark_held(other)
    assert hold() == [True, True, False]
    waits.unmark_held(first)
    assert hold() == [False, True, False]
    waits.mark_held(first)
    waits.unmark_held(first)
    assert hold() == [False, True, False]
    waits.unmark_held(second)
    assert hold() == [False, False, False]
