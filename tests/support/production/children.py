"""The other processes of a measurement: started and ended here, and killed with this process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway_site.local.processes import Child, spawn
from tests import ROOT

START_WITHIN = 60  # seconds


@dataclass(frozen=True)
class Running:
    """A process, and the line that it printed when it was ready."""

    pid: int
    said: str


@contextmanager
def python(module: str, *arguments: str, log: Path) -> Iterator[Running]:
    """Run a module; yield after its first line, and end it afterwards."""
    read, write = os.pipe()
    # Without -P the modules of the current folder would come first.
    command = [sys.executable, "-P", "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with os.fdopen(read, "rb") as lines, log.open("ab") as errors:
        with os.fdopen(write, "wb") as output:
            process = spawn(command, environment, output, errors)
        with _ending(process):
            said = lines.readline().decode().strip()
            if not said:
                raise RuntimeError(f"{module} did not start:\n{log.read_text(encoding='utf-8')}")
            yield Running(process.pid, said)


@contextmanager
def server(command: Sequence[str], port: int, *, log: Path) -> Iterator[int]:
    """Run a program, yield its process id when it listens on its port, and end it afterwards."""
    child = Child(
        name=command[0], command=command, environment=os.environ, port=port, option="", log=log
    )
    child.start()
    try:
        yield _wait_for(child)
    finally:
        child.end()


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(child: Child) -> int:
    deadline = time.monotonic() + START_WITHIN
    while not child.is_ready():
        if not child.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not start.")
        time.sleep(0.02)
    assert child.process is not None
    return child.process.pid
