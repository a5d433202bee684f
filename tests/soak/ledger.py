"""Records requests and responses, and finds unexplained failures.

A failure is explained by a disturbance that was going on at any time of the request: that
no response came, by a kill only; a 503, by an outage only.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

NO_RESPONSE = "no answer"
ENDED_EARLY = "ended early"  # as a kill does, and an outage at a stream's look at its session
UNAVAILABLE = "503"
AFTERMATH = 6.0  # seconds: a back-off after an outage, and time-outs of what had begun


@dataclass
class Disturbance:
    """One kill or outage, on the monotonic clock."""

    name: str
    kills: bool
    began: float
    ended: float | None = None

    def explains(self, response: str, began: float, ended: float) -> bool:
        if response == (UNAVAILABLE if self.kills else NO_RESPONSE):
            return False
        return self.began <= ended and (self.ended is None or began <= self.ended + AFTERMATH)


@dataclass
class Ledger:
    """Counted by all threads."""

    requests: Counter[str] = field(default_factory=Counter)
    responses: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def disturbance(self, name: str, *, kills: bool = False) -> Iterator[None]:
        """Let failures be explained until the block ends, and shortly after."""
        present = Disturbance(name, kills, time.monotonic())
        with self._lock:
            self.disturbances.append(present)
        try:
            yield
        finally:
            present.ended = time.monotonic()

    def note(self, kind: str, response: str) -> None:
        with self._lock:
            self.requests[kind] += 1
            self.responses[response] += 1

    def failed(self, kind: str, response: str, began: float) -> None:
        """Note a failure; it is a violation unless something explains it."""
        ended = time.monotonic()
        with self._lock:
            recent = self.disturbances[-3:]
            cause = next((each for each in recent if each.explains(response, began, ended)), None)
        if cause is None:
            self.violation(f"{kind}: {response}, and nothing was wrong")
            return
        with self._lock:
            self.explained[f"{cause.name}: {response}"] += 1

    def violation(self, text: str) -> None:
        with self._lock:
            self.violations.append(f"{time.strftime('%H:%M:%S')} {text}")
