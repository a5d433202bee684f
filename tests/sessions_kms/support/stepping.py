"""Coroutines in tests, resumed by hand. The benchmarks use this too, without pytest."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import count
from typing import Any, ParamSpec, TypeVar

from sessions_kms.concurrency import waits
from sessions_kms.concurrency.waits import BlockingCall, Wait, run_sync
from sessions_kms.exceptions import StoreUnavailable

WITHIN = 10  # seconds, after which a thread counts as hung

P = ParamSpec("P")
T = TypeVar("T")

Driver = Callable[[Coroutine[Any, Any, Any]], Any]


def as_coroutine(call: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return a blocking function as a coroutine function."""

    async def call_step(*args: Any, **kwargs: Any) -> T:
        outcome: T = await BlockingCall(partial(call, **kwargs), args)
        return outcome

    return call_step


def run_blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return a coroutine function as a blocking function."""
    return lambda *args, **kwargs: run_sync(function(*args, **kwargs))


def in_time(call: Callable[[], object]) -> object:
    """Return the result of a call, or its StoreUnavailable; fail if it hangs."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except StoreUnavailable as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WITHIN)
    assert outcome, "the thread hangs"
    return outcome[0]


def resume(
    coroutine: Coroutine[Any, Any, Any], outcome: Any = None, error: BaseException | None = None
) -> Wait:
    """Resume a coroutine with the outcome of its wait, or with an error.

    Returns its next wait. Raises StopIteration with its result, or its error.
    """
    waits._mode.by_hand = True
    try:
        wait = coroutine.send(outcome) if error is None else coroutine.throw(error)
    finally:
        waits._mode.by_hand = False
    assert isinstance(wait, Wait)
    return wait


def waits_in(coroutine: Coroutine[Any, Any, object]) -> Iterator[Wait]:
    """Run a coroutine in this thread; yield its waits."""
    outcome: Any = None
    try:
        while True:
            wait = resume(coroutine, outcome)
            yield wait
            outcome = wait.block()
    except StopIteration:
        pass


async def with_waits(coroutine: Coroutine[Any, Any, T], replaced: Callable[[int, Wait], Wait]) -> T:
    """Run a coroutine, with its waits, counted from 0, replaced."""
    outcome: Any = None
    error: BaseException | None = None
    try:
        for number in count():
            wait = resume(coroutine, outcome, error)
            outcome = error = None
            try:
                outcome = await replaced(number, wait)
            except BaseException as exc:  # noqa: BLE001 - the coroutine decides
                error = exc
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        error = None  # Its traceback refers to this frame: break the reference cycle.
    raise AssertionError


class Hanging(Wait):
    """A wait that never ends, with an event for its start."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def suspend(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


def cancel_at(coroutine: Coroutine[Any, Any, object], at: int) -> bool:
    """Run it in an event loop and cancel it in one of its waits; False if it ends before that."""
    hanging = Hanging()

    def replace(number: int, wait: Wait) -> Wait:
        return hanging if number == at else wait

    async def cancel() -> bool:
        task = asyncio.ensure_future(with_waits(coroutine, replace))
        begun = asyncio.ensure_future(hanging.begun.wait())
        await asyncio.wait([task, begun], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        assert task.cancelled() == hanging.begun.is_set()
        return task.cancelled()

    return asyncio.run(cancel())
