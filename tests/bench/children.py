"""The other processes of a measurement: started here, ended here, and dying with this one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway_site.local.processes import Child, spawn

START_WITHIN = 60  # seconds


@dataclass(frozen=True)
class Running:
    """A process, and the line by which it said that it is ready."""

    pid: int
    said: str


@contextmanager
def python(
    module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a module of ours until it has printed a line; end it at the end."""
    read, write = os.pipe()
    command = [sys.executable, "-m", module, *arguments]
    with os.fdopen(read, "rb") as lines, log.open("ab") as errors:
        with os.fdopen(write, "wb") as output:
            process = spawn(command, {**os.environ, **(environment or {})}, output, errors)
        with _ending(process):
            said = lines.readline().decode().strip()
            if not said:
                raise RuntimeError(f"{module} did not start:\n{log.read_text(encoding='utf-8')}")
            yield Running(process.pid, said)


@contextmanager
def server(command: Sequence[str], port: int, *, log: Path) -> Iterator[None]:
    """Run a program until it listens on its port; end it at the end."""
    child = Child(
        name=command[0], command=command, environment=os.environ, port=port, option="", log=log
    )
    child.start()
    try:
        _wait_for(child)
        yield
    finally:
        child.end()


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(child: Child) -> None:
    deadline = time.monotonic() + START_WITHIN
    while not child.is_ready():
        if not child.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not start.")
        time.sleep(0.02)
