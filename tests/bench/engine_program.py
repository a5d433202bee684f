"""A session engine, or the bare call, in a process that times calls on command.

    PYTHONPATH=TREE python -P engine_program.py PEER SETTINGS

Each line of input is a JSON command, {"do": …}, and each line of output a JSON result.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tests.bench.django_site import set_up_child

if TYPE_CHECKING:
    from tests.bench.peers import Peer

KB = 1024


class Engine:
    """The commands of one process."""

    def __init__(self, name: str) -> None:
        from tests.bench.peers import ENGINES, BarePeer, EnginePeer

        self._peer: Peer = EnginePeer(name) if name in ENGINES else BarePeer(name)

    @cached_property
    def _bare(self) -> Peer:
        """The other one of `alternate`."""
        from tests.bench.peers import BARE, BarePeer

        return BarePeer(BARE)

    def migrate(self) -> None:
        """Create the tables of its database."""
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def store(self, size: int) -> None:
        """Store a session of ``size`` KB for the next calls."""
        from tests.bench.content import content

        self._peer.store(content(size * KB))

    def turn(self, verb: str, calls: int) -> tuple[list[float], list[float]]:
        """Return the microseconds of each call: wall times and CPU times."""
        prepare = {"load": self._peer.prepare_load, "save": self._peer.prepare_save}[verb]
        wall: list[float] = []
        cpu: list[float] = []
        gc.collect()
        gc.freeze()
        for _ in range(calls):
            _time_call(prepare(), wall, cpu)
        gc.unfreeze()
        return wall, cpu

    def alternate(self, verb: str, size: int, calls: int) -> list[tuple[list[float], list[float]]]:
        """Return the times of this engine's calls and of the bare ones, made by turns.

        Each finds the processor's caches as the other left them.
        """
        from tests.bench.content import content

        for peer in (self._peer, self._bare):
            peer.store(content(size * KB))
        turns: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
        gc.collect()
        gc.freeze()
        for _ in range(calls):
            for peer, (wall, cpu) in zip((self._peer, self._bare), turns, strict=True):
                prepare = {"load": peer.prepare_load, "save": peer.prepare_save}[verb]
                _time_call(prepare(), wall, cpu)
        gc.unfreeze()
        return turns


def _time_call(call: Callable[[], object], wall: list[float], cpu: list[float]) -> None:
    """Make a call, and append the microseconds that it took."""
    cpu_began = time.thread_time_ns()
    began = time.perf_counter_ns()
    call()
    ended = time.perf_counter_ns()
    cpu_ended = time.thread_time_ns()
    wall.append((ended - began) / 1000)
    cpu.append((cpu_ended - cpu_began) / 1000)


def main(name: str, settings: dict[str, Any]) -> None:
    set_up_child(**settings)
    engine = Engine(name)
    for line in sys.stdin:
        command = json.loads(line)
        response = getattr(engine, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
