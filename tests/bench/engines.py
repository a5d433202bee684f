"""Engines that are measured in processes with their own settings."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import ROOT

PROGRAM = Path(__file__).with_name("engine_program.py")


class EngineProcess:
    """One such process, controlled by the measuring process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def store(self, size: int) -> None:
        """Store a session of ``size`` KB."""
        self._send("store", size=size)

    def alternate(
        self, verb: str, calls: int, *, pause: float = 0, names: Sequence[str] | None = None
    ) -> dict[str, list[float]]:
        """Return the CPU µs of each call of its peers, one of each in turn."""
        found: dict[str, list[float]] = self._send(
            "alternate", verb=verb, calls=calls, pause=pause, names=names
        )
        return found

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
            raise RuntimeError("The process of the engines ended.")
        return json.loads(line)


@contextmanager
def running(names: Sequence[str], **settings: Any) -> Iterator[EngineProcess]:
    """Start a process with these `peers`, and settings in addition to those of this process."""
    command = [sys.executable, "-P", str(PROGRAM), json.dumps(names), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield EngineProcess(process)
        finally:
            process.kill()
