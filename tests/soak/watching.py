"""Memory and open descriptors of a process over time, and whether they grow."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

INTERVAL = 2.0  # seconds
WARM_UP = 0.25  # of the samples, which are not judged
MEMORY_MAY_GROW_BY = 0.05  # of that after the warm-up, over the whole time that is judged
DESCRIPTORS_MAY_GROW_BY = 5  # those of connections that are kept, and of requests, vary more


@dataclass(frozen=True)
class Sample:
    """A moment in seconds, resident memory in MiB, open descriptors, threads."""

    at: float
    memory: float
    descriptors: int
    threads: int


@contextmanager
def watched(pid: int) -> Iterator[list[Sample]]:
    """Sample a process until the block ends."""
    samples: list[Sample] = []
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(psutil.Process(pid), samples, over))
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def without_warm_up(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Leave out the warm-up."""
    return samples[int(len(samples) * WARM_UP) :]


def growth(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """Return by how much a value grew from first to last, by the line of least squares."""
    mean_at = sum(each.at for each in samples) / len(samples)
    mean = sum(of(each) for each in samples) / len(samples)
    spread = sum((each.at - mean_at) ** 2 for each in samples)
    slope = sum((each.at - mean_at) * (of(each) - mean) for each in samples) / spread
    return slope * (samples[-1].at - samples[0].at)


def memory_growth(samples: Sequence[Sample]) -> float:
    """Return MiB."""
    return growth(samples, lambda sample: sample.memory)


def descriptor_growth(samples: Sequence[Sample]) -> float:
    """Return descriptors."""
    return growth(samples, lambda sample: sample.descriptors)


def is_memory_flat(samples: Sequence[Sample]) -> bool:
    return memory_growth(samples) <= MEMORY_MAY_GROW_BY * samples[0].memory


def are_descriptors_flat(samples: Sequence[Sample]) -> bool:
    return descriptor_growth(samples) <= DESCRIPTORS_MAY_GROW_BY


def _watch(process: psutil.Process, samples: list[Sample], over: threading.Event) -> None:
    while not over.wait(INTERVAL):
        with process.oneshot():
            samples.append(
                Sample(
                    time.monotonic(),
                    process.memory_info().rss / 2**20,
                    process.num_fds(),
                    process.num_threads(),
                )
            )
