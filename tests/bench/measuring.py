"""Contestants, measured in turns (A B C A B C …), so that all run under the same conditions.

Each call is timed separately, in wall time and in CPU time of its thread. Preparing a call is not
timed. Garbage is collected before each turn; the collector stays enabled.
"""

import gc
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter_ns, thread_time_ns
from typing import Protocol

Call = Callable[[], object]
Turn = tuple[list[float], list[float]]  # microseconds of each call: wall, CPU

CALLS_MIN = 3  # of a contestant in one turn, even if it is slow
CALLS_MAX = 200
WARM_UP = 5


class Contestant(Protocol):
    """Makes calls and times them one by one."""

    @property
    def name(self) -> str: ...
    def turn(self, calls: int) -> Turn: ...


@dataclass(frozen=True)
class Here:
    """A contestant in this process. `prepare` returns the call that is timed."""

    name: str
    prepare: Callable[[], Call]

    def turn(self, calls: int) -> Turn:
        gc.collect()
        return _turn(self.prepare, calls)


@dataclass(frozen=True)
class Elsewhere:
    """A contestant in another process."""

    name: str
    ask: Callable[[int], Turn]

    def turn(self, calls: int) -> Turn:
        return self.ask(calls)


@dataclass
class Times:
    """Microseconds of each call, turn by turn."""

    turns: list[list[float]] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        return percentile(chain.from_iterable(self.turns), percent)

    @property
    def median(self) -> float:
        return self.percentile(50)


@dataclass
class Timed:
    """The times of one contestant."""

    wall: Times = field(default_factory=Times)
    cpu: Times = field(default_factory=Times)


@dataclass(frozen=True)
class Ratio:
    """The ratio to the peer: the median of the rounds, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def compete(contestants: Iterable[Contestant], *, rounds: int, budget: float) -> dict[str, Timed]:
    """Time all contestants in turns of about `budget` seconds each."""
    found: dict[str, Timed] = {}
    calls: dict[str, int] = {}
    field_of = {contestant.name: contestant for contestant in contestants}
    for name, contestant in field_of.items():
        warm = contestant.turn(WARM_UP)
        typical = statistics.median(warm[0]) / 1e6
        calls[name] = max(CALLS_MIN, min(CALLS_MAX, int(budget / typical)))
        found[name] = Timed()
    with _heap_set_aside():
        for _ in range(rounds):
            for name, contestant in field_of.items():
                wall, cpu = contestant.turn(calls[name])
                found[name].wall.turns.append(wall)
                found[name].cpu.turns.append(cpu)
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
    """Exclude all current objects from garbage collection: it would take longer than a turn."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _turn(prepare: Callable[[], Call], calls: int) -> Turn:
    wall, cpu = [], []
    for _ in range(calls):
        call = prepare()
        cpu_began = thread_time_ns()
        began = perf_counter_ns()
        call()
        ended = perf_counter_ns()
        cpu_ended = thread_time_ns()
        wall.append((ended - began) / 1000)
        cpu.append((cpu_ended - cpu_began) / 1000)
    return wall, cpu


def ratio(ours: Times, theirs: Times) -> Ratio:
    """Compare the medians of two contestants, round by round."""
    pairs = zip(ours.turns, theirs.turns, strict=True)
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
