"""A request stopped at each of its calls in turn: there it dies, or another one comes between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import count
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class Killed(BaseException):
    """The process ended here: nothing gets to handle that."""


def die() -> None:
    raise Killed


class Calls:
    """Counts calls of some methods, and does something before one of them, or after it."""

    def __init__(self) -> None:
        self._left = 0
        self._after = self._running = self.reached = False
        self._do: Callable[[], object] = die

    def each(self, do: Callable[[], object] = die) -> Iterator[None]:
        """Do it before the first call that is run, after it, before the second, ..., and never."""
        self._do = do
        for number in count():
            for after in (False, True):
                self._left, self._after, self.reached = number, after, False
                yield
                if not self.reached:
                    assert number > 0, "nothing was called"
                    return

    def run(self, request: Callable[[], T]) -> T:
        """Run what is counted, or some of it."""
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
        answer = call()
        if self._after:
            self._do()
        return answer


def counted(monkeypatch: pytest.MonkeyPatch, *methods: tuple[type, str]) -> Calls:
    """Have these methods counted."""
    calls = Calls()
    for owner, name in methods:
        monkeypatch.setattr(owner, name, _counting(calls, getattr(owner, name)))
    return calls


def _counting(calls: Calls, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return calls.made(lambda: method(*args, **kwargs))

    return call
