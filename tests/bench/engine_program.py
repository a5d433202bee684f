"""Session engines, and the bare call, in a process that times their calls on command.

    PYTHONPATH=TREE python -P engine_program.py PEERS SETTINGS

PEERS and SETTINGS are JSON: the names of `peers.peer`, and settings in addition to the parent's.
Each line of input is a JSON command, {"do": …}, and each line of output a JSON result.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tests.bench.django_site import set_up_child

if TYPE_CHECKING:
    from collections.abc import Iterable

KB = 1024


class Program:
    """The commands of one process."""

    def __init__(self, names: Iterable[str]) -> None:
        from tests.bench import peers

        self._peers = {name: peers.peer(name) for name in names}

    def migrate(self) -> None:
        """Create the tables of its database."""
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def store(self, size: int) -> None:
        """Store a session of ``size`` KB for the next calls, for each peer."""
        from tests.bench.content import content

        for peer in self._peers.values():
            peer.store(content(size * KB))

    def alternate(
        self, verb: str, calls: int, pause: float, names: list[str] | None = None
    ) -> dict[str, list[float]]:
        """Return the CPU µs of each call of the peers, or of those named; see `measuring`."""
        from tests.bench import measuring

        found = {
            name: {"load": peer.prepare_load, "load and save": peer.prepare_load_and_save}[verb]
            for name, peer in self._peers.items()
            if names is None or name in names
        }
        return measuring.alternate(found, calls=calls, pause=pause)


def main(names: Iterable[str], settings: dict[str, Any]) -> None:
    set_up_child(**settings)
    program = Program(names)
    for line in sys.stdin:
        command = json.loads(line)
        response = getattr(program, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
