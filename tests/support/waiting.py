"""Waiting for what other threads and processes do, with a bound on it."""

import time
from collections.abc import Callable
from urllib.error import URLError
from urllib.request import urlopen


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


def wait_for(url: str, *, seconds: float = 10) -> None:
    """Wait until something answers HTTP at an address."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(url, timeout=1):  # noqa: S310 - an address of this test
                return
        except URLError as exc:
            if hasattr(exc, "code"):  # It answers, if only with an error.
                exc.close()  # type: ignore[attr-defined]
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
