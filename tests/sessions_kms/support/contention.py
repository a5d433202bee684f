"""Writers of one session in several processes, whose calls of DynamoDB take their time.

For the tests, which count, and for `make bench`, which measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.sessions_kms.support.worker import Worker, at_once


@dataclass(frozen=True)
class Contention:
    """What came of it. ``took`` are the seconds of each save, ``alone`` those of a lone one."""

    told: list[str | None]
    took: list[float]
    writes: int
    alone: float

    @property
    def longest(self) -> float:
        """Return how many latencies of a lone save the longest save took."""
        return max(self.took) / self.alone


def contend(
    processes: Sequence[Worker], key: str, *, writers: int, saves: int, alone: float
) -> Contention:
    """Have so many writers in each process save one session at once, each so many times."""
    for process in processes:
        process.ask("load_many", key=key, writers=writers)
    found: list[Any] = at_once(
        *(
            (process, "save_many", {"name": f"{number}", "saves": saves})
            for number, process in enumerate(processes)
        )
    )
    return Contention(
        told=[each for one in found for each in one["told"]],
        took=[each for one in found for each in one["took"]],
        writes=sum(one["writes"] for one in found),
        alone=alone,
    )


def expected(processes: int, *, writers: int, saves: int) -> dict[str, int]:
    """Return what the session holds if no save was lost."""
    return {
        f"{process}.{writer}": saves for process in range(processes) for writer in range(writers)
    }
