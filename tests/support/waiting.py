"""Waiting for other threads and processes, with a time limit."""

import time
from collections.abc import Callable
from urllib.error import URLError
from urllib.request import urlopen


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait until a condition holds; return False on timeout."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    assert until(condition, seconds), f"not within {seconds} s: {what}"


def wait_for(url: str, *, seconds: float = 10) -> None:
    """Wait until a server responds to HTTP at a URL."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(url, timeout=1):  # noqa: S310 - an address of this test
                return
        except URLError as exc:
            if hasattr(exc, "code"):  # a response, even if an error
                exc.close()  # type: ignore[attr-defined]
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
