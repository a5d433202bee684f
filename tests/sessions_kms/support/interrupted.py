"""Stops a request at each of its calls in turn: it is killed, or another request runs there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import count
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class Killed(BaseException):
    """The process was killed here: nothing handles this."""


def die() -> None:
    raise Killed


class Calls:
    """Counts calls of some methods, and runs a function before or after one of them."""

    def __init__(self) -> None:
        self._left = 0
        self._after = self._running = self.reached = False
        self._do: Callable[[], object] = die

    def each(self, do: Callable[[], object] = die) -> Iterator[None]:
        """Run it before the first call, after it, before the second, ..., and finally never."""
        self._do = do
        for number in count():
            for after in (False, True):
                self._left, self._after, self.reached = number, after, False
                yield
                if not self.reached:
                    assert number > 0, "nothing was called"
                    return

    def run(self, request: Callable[[], T]) -> T:
        """Run a request whose calls are counted."""
        self._running = True
        try:
            return request()
        finally:
            self._running = False

    def made(self, call: Callable[[], T]) -> T:
        if not self._running or self.reached:
            return call()
        self._left -= 1
        if self._left >= 0:
            return call()
        self.reached = True
        if not self._after:
            self._do()
        response = call()
        if self._after:
            self._do()
        return response


def count_calls(monkeypatch: pytest.MonkeyPatch, *methods: tuple[type, str]) -> Calls:
    """Count the calls of these methods."""
    calls = Calls()
    for owner, name in methods:
        monkeypatch.setattr(owner, name, _count(calls, getattr(owner, name)))
    return calls


def _count(calls: Calls, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return calls.made(lambda: method(*args, **kwargs))

    return call
