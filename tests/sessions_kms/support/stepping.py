"""Steps in tests: a call that blocks as steps, and both drivers."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from sessions_kms.concurrency.steps import Call, Steps, Wait, arun, run

T = TypeVar("T")

Driver = Callable[[Steps[Any]], Any]

DRIVERS = pytest.mark.parametrize(
    "drive", [run, lambda steps: asyncio.run(arun(steps))], ids=["thread", "loop"]
)


def as_steps(call: Callable[..., T]) -> Callable[..., Steps[T]]:
    """Return a call that blocks as one that gives steps."""

    def steps(*args: Any) -> Steps[T]:
        outcome: T = yield Call(call, args)
        return outcome

    return steps


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
