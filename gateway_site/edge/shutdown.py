"""The stop of a server, for event streams: most of them would not end by themselves.

A stream that answers a GET sends events until somebody ends it; its client connects again, to
another process. One that answers another method has a result, such as an MCP tool's: it may finish.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STATE_KEY = "gateway.shutdown"  # in the lifespan's state, which each request's scope has as well
RESULT_TIME = 20.0  # seconds, from when the port is closed, in which results may come


class Shutdown:
    """The stop of one server."""

    def __init__(self) -> None:
        self._streams, self._results = _Moment(), _Moment()

    def begin(self) -> None:
        """End streams now, those with a result after `RESULT_TIME`. May be called again."""
        if not self._streams.has_come:
            self._streams.come()
            asyncio.get_running_loop().call_later(RESULT_TIME, self._results.come)

    @contextmanager
    def ending(self, end: Callable[[], None], *, has_result: bool) -> Iterator[None]:
        """Call `end` when such a stream has to end, which may be at once."""
        moment = self._results if has_result else self._streams
        moment.callbacks.add(end)
        try:
            if moment.has_come:
                end()
            yield
        finally:
            moment.callbacks.discard(end)


class _Moment:
    """A moment that comes once, and what is called then."""

    def __init__(self) -> None:
        self.has_come = False
        self.callbacks: set[Callable[[], None]] = set()

    def come(self) -> None:
        self.has_come = True
        for callback in list(self.callbacks):
            callback()


def shutdown_of(state: dict[str, Any]) -> Shutdown:
    """Return the stop that a lifespan's state has; one that never begins under other servers."""
    found: Shutdown | None = state.get(STATE_KEY)
    return found or Shutdown()
