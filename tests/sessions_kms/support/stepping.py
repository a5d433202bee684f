"""Steps in tests: a call that blocks as steps. The bench uses it too, where no pytest is."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sessions_kms.concurrency.steps import Call, Steps, Wait, arun
from sessions_kms.exceptions import StoreUnavailable

WITHIN = 10  # seconds, after which a thread counts as hung

T = TypeVar("T")

Driver = Callable[[Steps[Any]], Any]


def as_steps(call: Callable[..., T]) -> Callable[..., Steps[T]]:
    """Return a call that blocks as one that gives steps."""

    def steps(*args: Any) -> Steps[T]:
        outcome: T = yield Call(call, args)
        return outcome

    return steps


def in_time(call: Callable[[], object]) -> object:
    """Return what a call returns, or the StoreUnavailable that it raises, unless it hangs."""
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


def waits_in(steps: Steps[object]) -> Iterator[Wait]:
    """Do steps in this thread; give what they wait for."""
    outcome: Any = None
    try:
        while True:
            wait = steps.send(outcome)
            yield wait
            outcome = wait.blocking()
    except StopIteration:
        pass


class Hanging:
    """A wait that never ends, and tells when it has begun."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def blocking(self) -> None:
        raise NotImplementedError

    async def looping(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


def hung_at(steps: Steps[T], at: int, hanging: Wait) -> Steps[T]:
    """Return the steps, of which one wait, counted from 0, never ends."""
    try:
        wait, number = next(steps), 0
        while True:
            try:
                outcome = yield hanging if number == at else wait
            except BaseException as exc:  # noqa: BLE001 - the steps decide
                wait = steps.throw(exc)
            else:
                wait = steps.send(outcome)
            number += 1
    except StopIteration as end:
        result: T = end.value
        return result


def cancelled_at(steps: Steps[object], at: int) -> bool:
    """Do the steps in an event loop and cancel them in one wait; False if they end before it."""
    hanging = Hanging()

    async def cancel() -> bool:
        task = asyncio.ensure_future(arun(hung_at(steps, at, hanging)))
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
