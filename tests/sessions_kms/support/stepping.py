"""Steps in tests: a call that blocks as steps, and both drivers."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from sessions_kms.concurrency.steps import Call, Steps, arun, run

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
