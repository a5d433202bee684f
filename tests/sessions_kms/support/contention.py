"""Writers of one session in several processes, with slow calls to DynamoDB.

For the tests, which count, and for `make bench`, which measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.sessions_kms.support.worker import Worker, at_once


@dataclass(frozen=True)
class Contention:
    """The result. ``took`` are the seconds of each save, ``alone`` those of a lone one."""

    told: list[str | None]
    took: list[float]
    writes: int
    alone: float

    @property
    def longest(self) -> float:
        """Return the longest save as a multiple of a lone save's latency."""
        return max(self.took) / self.alone


def contend(
    processes: Sequence[Worker], key: str, *, writers: int, saves: int, alone: float
) -> Contention:
    """Save one session concurrently with ``writers`` in each process, each ``saves`` times."""
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


def expected_content(processes: int, *, writers: int, saves: int) -> dict[str, int]:
    """Return the session's content if no save was lost."""
    return {
        f"{process}.{writer}": saves for process in range(processes) for writer in range(writers)
    }
