"""Engines that are measured in separate processes, with their own settings."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.bench.measuring import Turn

PROGRAM = Path(__file__).with_name("engine_program.py")


class EngineProcess:
    """One such process, controlled by the measuring process."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process

    def store(self, size: int) -> None:
        """Store a session of ``size`` KB."""
        self._send("store", size=size)

    def turn(self, verb: str, calls: int) -> Turn:
        """Time some calls, one by one; return microseconds, wall and CPU."""
        wall, cpu = self._send("turn", verb=verb, calls=calls)
        return wall, cpu

    def alternate(self, verb: str, size: int, calls: int) -> list[Turn]:
        """Time calls of the engine and of the bare boto3 call, one of each in turn."""
        return [
            (wall, cpu) for wall, cpu in self._send("alternate", verb=verb, size=size, calls=calls)
        ]

    def migrate(self) -> None:
        """Create the tables of its database."""
        self._send("migrate")

    def _send(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended.")
        return json.loads(line)


@contextmanager
def running(name: str, peer: str, **settings: Any) -> Iterator[EngineProcess]:
    """Start a peer of `peers` under a name, with settings in addition to those of this process."""
    command = [sys.executable, "-P", str(PROGRAM), peer, json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield EngineProcess(name, process)
        finally:
            process.kill()
