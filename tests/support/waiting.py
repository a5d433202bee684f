"""Waiting for what other threads and processes do, with a bound on it."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait until something holds; tell whether it came to that."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    assert until(condition, seconds), f"not within {seconds} s: {what}"
