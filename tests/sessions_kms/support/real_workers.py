"""Processes on real clocks that share a store."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.sessions import saved_key, stored_item
from tests.sessions_kms.support.stacks import Stack, settings_of
from tests.sessions_kms.support.worker import Worker
from tests.support.clock import FakeClock

HOUR = 3600


def make_real_time_stack(make_stack: MakeStack, clock: FakeClock) -> Stack:
    """Make a stack for processes, whose clocks are real."""
    clock.now = time.time()
    # No period may end, nor its successor be fetched ahead, while calls are counted.
    lengths = (24 * HOUR, 23 * HOUR)
    return make_stack(data_key_period=next(p for p in lengths if HOUR < clock.now % p < p - HOUR))


def settings_for(stack: Stack) -> dict[str, Any]:
    return settings_of(stack.config) | {
        "REGION_NAME": stack.config.region_name,
        "DATA_KEY_PERIOD": stack.config.data_key_period,
    }


@contextmanager
def running_workers(stack: Stack, count: int) -> Iterator[list[Worker]]:
    """Run new processes on a stack, ready for commands."""
    settings = settings_for(stack)
    with ExitStack() as made:
        processes = [made.enter_context(Worker(settings)) for _ in range(count)]
        for process in processes:
            process.ask("warm_up")
        yield processes


def save_now(stack: Stack, **content: Any) -> str:
    stack.clock.now = time.time()
    return saved_key(**content)


def read_now(stack: Stack, key: str) -> dict[str, Any]:
    stack.clock.now = time.time()
    return stored_item(key)
