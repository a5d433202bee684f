"""Contestants, measured alternating call by call (A B C A B C …) in one process.

Each finds the processor's caches as the others left them, as in a site that does other things
between two calls: a block of calls would flatter the contestant that computes most. Each call is
timed separately, in CPU time of its thread. Preparing a call is not timed. Garbage is collected
before each round; the collector stays enabled.
"""

import gc
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from time import sleep, thread_time_ns

Call = Callable[[], object]


@dataclass
class Times:
    """Microseconds of each call, round by round."""

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        return percentile(chain.from_iterable(self.rounds), 50)


@dataclass(frozen=True)
class Ratio:
    """The ratio to the peer: the median of the rounds, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def alternate(
    contestants: Mapping[str, Callable[[], Call]], *, calls: int, pause: float = 0
) -> dict[str, list[float]]:
    """Return the CPU µs of this many calls of each contestant, one of each in turn.

    A contestant returns the call that is timed. ``pause`` is the seconds before each call.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    with _heap_set_aside():
        for _ in range(calls):
            for name, prepare in contestants.items():
                call = prepare()
                sleep(pause)
                began = thread_time_ns()
                call()
                found[name].append((thread_time_ns() - began) / 1000)
    return found


def use_one_core() -> None:
    """Keep this process, and those it starts from now on, on one core, where the system can do so.

    On a virtual machine it can take 100 µs to wake a server that sleeps on another core. That is
    CPU time of the client, the same for each contestant, and no network would cost it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@contextmanager
def _heap_set_aside() -> Iterator[None]:
    """Exclude all current objects from garbage collection: it would take longer than a call."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def ratio(ours: Times, theirs: Times) -> Ratio:
    """Compare the medians of two contestants, round by round."""
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    return ratio_of([statistics.median(a) / statistics.median(b) for a, b in pairs])


def ratio_of(ratios: Iterable[float]) -> Ratio:
    """Summarize the ratios of the rounds."""
    found = list(ratios)
    return Ratio(percentile(found, 50), percentile(found, 25), percentile(found, 75))


def percentile(values: Iterable[float], percent: float) -> float:
    """Return a percentile, interpolated between the two nearest values."""
    found = sorted(values)
    place = (len(found) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(found) - 1)
    return found[below] + (found[above] - found[below]) * (place - below)
