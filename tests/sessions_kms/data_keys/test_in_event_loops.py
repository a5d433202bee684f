"""Data keys requested concurrently by threads and tasks, and by cancelled tasks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable
from tests.sessions_kms.support.drivers import DRIVERS
from tests.sessions_kms.support.fakes import Call, together
from tests.sessions_kms.support.fleet import PERIOD, Process, make_elsewhere
from tests.sessions_kms.support.stepping import (
    WITHIN,
    Driver,
    cancel_at,
    in_time,
    waits_in,
)

THREADS, LOOPS, TASKS = 8, 3, 8
ALL = THREADS + LOOPS * TASKS


@pytest.fixture
def process() -> Process:
    return Process(background=False)


@pytest.fixture
def key(process: Process) -> DataKey:
    return make_elsewhere(process.kms)


def entries(process: Process) -> threading.Semaphore:
    """Return what is released whenever somebody begins a flight, or joins one."""
    flights: Any = process.cache._flights
    enter, entered = flights._enter, threading.Semaphore(0)

    def enter_and_tell(*arguments: Any) -> Any:
        try:
            return enter(*arguments)
        finally:
            entered.release()

    flights._enter = enter_and_tell
    return entered


def take(semaphore: threading.Semaphore, times: int) -> None:
    for _ in range(times):
        assert semaphore.acquire(timeout=WITHIN)


def tasks_of(process: Process, key: DataKey, tasks: int) -> list[object]:
    """Unwrap in so many tasks of a loop in this thread; return results, errors among them."""

    async def all_of_them() -> list[object]:
        asked = [process.cache.unwrap(key.encrypted, PERIOD) for _ in range(tasks)]
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(asyncio.wait_for(all_of_them(), WITHIN))


def everybody(process: Process, key: DataKey, threads: int = THREADS) -> list[object]:
    """Unwrap in threads, and in tasks of loops, which all start at one moment."""

    def ask(index: int) -> list[object]:
        if index < threads:
            return [process.unwrap(key.encrypted, PERIOD)]
        return tasks_of(process, key, TASKS)

    found: list[object] = []
    for each in together(threads + LOOPS, ask):
        found += each if isinstance(each, list) else [each]
    return found


def test_concurrent_misses_in_threads_and_tasks_call_kms_once(
    process: Process, key: DataKey
) -> None:
    entered = entries(process)
    process.kms.during = lambda _: take(entered, ALL)  # Until all have come.
    assert everybody(process, key) == [key] * ALL
    assert process.kms.count("decrypt") == 1


@contextmanager
def pilot_in_a_loop(process: Process, key: DataKey) -> Iterator[Callable[[], None]]:
    """Start a call in a task of a separate loop; yield the function that cancels it."""
    flying, release = threading.Event(), threading.Event()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[DataKey]]] = []

    def hang(_: Call) -> None:
        process.kms.during = lambda _: None  # The next flight is quick.
        flying.set()
        assert release.wait(WITHIN)

    async def fly() -> None:
        task = asyncio.ensure_future(process.cache.unwrap(key.encrypted, PERIOD))
        tasks.append((asyncio.get_running_loop(), task))
        await asyncio.wait([task])
        assert task.cancelled()

    def cancel() -> None:
        ((loop, task),) = tasks
        loop.call_soon_threadsafe(task.cancel)

    process.kms.during = hang
    thread = threading.Thread(target=lambda: asyncio.run(fly()))
    thread.start()
    assert flying.wait(WITHIN)
    try:
        yield cancel
    finally:
        release.set()
        thread.join(WITHIN)
    assert not thread.is_alive()


def test_call_of_a_cancelled_task_is_repeated_once(process: Process, key: DataKey) -> None:
    entered = entries(process)
    with pilot_in_a_loop(process, key) as cancel:
        take(entered, 1)

        def cancel_once_all_wait() -> None:
            take(entered, ALL)
            cancel()

        canceller = threading.Thread(target=cancel_once_all_wait)
        canceller.start()
        assert everybody(process, key) == [key] * ALL
        canceller.join(WITHIN)
    assert process.kms.count("decrypt") == 2
    assert not process.cache._flights._flights


def test_cancelled_waiter_disturbs_nobody(process: Process, key: DataKey) -> None:
    flying, release = threading.Event(), threading.Event()
    found: list[DataKey] = []

    def hang(_: Call) -> None:
        flying.set()
        assert release.wait(WITHIN)

    async def wait_in_vain() -> DataKey:
        patient, other = (
            asyncio.ensure_future(process.cache.unwrap(key.encrypted, PERIOD)) for _ in range(2)
        )
        await asyncio.sleep(0)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
        release.set()
        return await patient

    process.kms.during = hang
    pilot = threading.Thread(target=lambda: found.append(process.unwrap(key.encrypted, PERIOD)))
    pilot.start()
    try:
        assert flying.wait(WITHIN)
        assert asyncio.run(wait_in_vain()) == key
    finally:
        release.set()
        pilot.join(WITHIN)
    assert found == [key]


def test_tasks_waiting_for_a_dying_thread_get_an_error(process: Process, key: DataKey) -> None:
    entered = entries(process)

    def die(_: Call) -> None:
        take(entered, 1 + TASKS)
        raise SystemExit

    def fly() -> None:
        with pytest.raises(SystemExit):
            process.unwrap(key.encrypted, PERIOD)

    process.kms.during = die
    pilot = threading.Thread(target=fly)
    flying = process.cache._flights._flights
    pilot.start()
    while not flying:
        assert pilot.is_alive()
    assert {type(each) for each in tasks_of(process, key, TASKS)} == {KMSUnavailable}
    pilot.join(WITHIN)


def test_request_without_time_left_waits_in_no_event_loop(process: Process, key: DataKey) -> None:
    async def ask() -> None:
        with deadline.request(deadline.LEAST / 2):
            await process.cache.unwrap(key.encrypted, PERIOD)

    with pilot_in_a_loop(process, key) as cancel:
        with pytest.raises(KMSUnavailable):
            asyncio.run(ask())
        cancel()


@DRIVERS
def test_reentrant_lookup_is_rejected(process: Process, key: DataKey, drive: Driver) -> None:
    """A log handler in the middle of the call to KMS, say, which is in another thread in a loop."""
    refused: list[type[Exception]] = []

    def ask_again(_: Call) -> None:
        try:
            process.unwrap(key.encrypted, PERIOD)
        except StoreUnavailable as error:
            refused.append(type(error))

    process.kms.during = ask_again
    assert in_time(lambda: drive(process.cache.unwrap(key.encrypted, PERIOD))) == key
    assert refused == [KMSUnavailable]


def test_blocking_call_in_the_loop_whose_task_flies_is_refused(
    process: Process, key: DataKey
) -> None:
    """It would keep the task from landing."""
    asked, release = threading.Event(), threading.Event()

    def hang(_: Call) -> None:
        asked.set()
        assert release.wait(WITHIN)

    async def ask() -> DataKey:
        task = asyncio.ensure_future(process.cache.unwrap(key.encrypted, PERIOD))
        assert await asyncio.to_thread(asked.wait, WITHIN)
        with pytest.raises(KMSUnavailable):
            process.unwrap(key.encrypted, PERIOD)
        release.set()
        return await task

    process.kms.during = hang
    assert in_time(lambda: asyncio.run(ask())) == key


def test_event_loop_continues_during_a_kms_call(process: Process, key: DataKey) -> None:
    ticked = threading.Event()

    def wait_for_the_loop(_: Call) -> None:
        assert ticked.wait(WITHIN)

    async def ask() -> DataKey:
        process.kms.during = wait_for_the_loop
        task = asyncio.ensure_future(process.cache.unwrap(key.encrypted, PERIOD))
        await asyncio.sleep(0)
        ticked.set()
        return await task

    assert asyncio.run(ask()) == key


# Every step

VERBS: dict[str, Callable[[Process, DataKey], Coroutine[Any, Any, DataKey]]] = {
    "generate": lambda process, _: process.cache.generate(PERIOD),
    "unwrap": lambda process, key: process.cache.unwrap(key.encrypted, PERIOD),
    "confirmed": lambda process, key: process.cache.confirmed(key),
}


@pytest.mark.parametrize("name", ["generate", "unwrap", "confirmed"])
def test_cached_key_is_returned_without_waiting(process: Process, key: DataKey, name: str) -> None:
    for _ in range(2):
        run_sync(VERBS[name](process, key))
    assert list(waits_in(VERBS[name](process, key))) == []


@pytest.mark.parametrize("name", VERBS)
def test_cancellation_at_any_step_leaves_nobody_waiting(name: str) -> None:
    at, is_cancelled = 0, True
    while is_cancelled:
        process = Process(background=False)
        key = make_elsewhere(process.kms)
        is_cancelled = cancel_at(VERBS[name](process, key), at)
        assert not process.cache._flights._flights
        assert not process.cache._flights._failures
        assert run_sync(VERBS[name](process, key)).plaintext
        at += 1
    assert at > 1
