"""Start processes in order, watch them, and end all of them together.

The ids of running children are recorded in a file. If the system does not end the children of a
killed supervisor, the next start kills those that are certainly the same processes: a reused id is
recognized by start time and command line. There is only one thread: signals set a flag that every
wait checks.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Self

from gateway_site.local.processes import (
    Child,
    StackError,
    describe_exit,
    find_configuration_error,
    open_log,
    require_free_port,
    spawn,
)
from gateway_site.local.state import write_private_file

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL = 0.05  # seconds between two checks while something starts
WATCH = 0.25  # seconds between two checks while everything runs
START_WITHIN = 180  # seconds, on a busy machine, for a child to be ready or a step to end
PORT_FREE_WITHIN = 2  # seconds for the processes of a killed run to end


class StopRequestedError(Exception):
    """The user or the system asked the stack to end."""


class Supervisor:
    """A context manager that ends all its processes on exit."""

    def __init__(self, running: Path, logs: Path) -> None:
        self.running = running
        self.logs = logs
        self.children: list[Child] = []
        self.stop_requested = False

    def __enter__(self) -> Self:
        self.handlers = {number: signal.signal(number, self._request_stop) for number in SIGNALS}
        kill_leftovers(self.running)
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.children):
            child.end()
        self.running.unlink(missing_ok=True)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def require_ports(self, children: Sequence[Child]) -> None:
        """Raise StackError if a port is in use or given twice; call this before starting any."""
        _require_different(children)
        deadline = time.monotonic() + PORT_FREE_WITHIN
        for child in children:
            while True:
                try:
                    require_free_port(child.port, child.name, child.option)
                    break
                except StackError:
                    if time.monotonic() > deadline:
                        raise
                    self._pause(POLL)

    def start(self, *children: Child) -> None:
        """Start the children together and return when all of them are ready."""
        for child in children:
            self.children.append(child)
            child.start()
        pids = [child.process.pid for child in self.children if child.process]
        record_children(self.running, pids)
        for child in children:
            self._wait(child.is_ready, f"The {child.name} is not ready", child.log)

    def run_step(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """Run a command to its end and return its output."""
        path = self.logs / f"{name}.log"
        with open_log(path) as log, tempfile.TemporaryFile() as output:
            process = spawn(command, environment, output, log)
            try:
                self._wait(lambda: process.poll() is not None, f"{name} did not end", path)
            finally:
                process.kill()
                process.wait()
            if process.returncode:
                raise StackError(
                    find_configuration_error(path)
                    or f"{name} failed ({describe_exit(process)}): read {path}."
                )
            output.seek(0)
            return output.read().decode("utf-8")

    def watch(self) -> None:
        """Never return; raise if a child has died, or if the stack was asked to end."""
        while True:
            self._pause(WATCH)

    def _wait(self, condition: Callable[[], bool], failure: str, log: Path) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not condition():
            self._pause(POLL)
            if time.monotonic() > deadline:
                raise StackError(f"{failure} after {START_WITHIN} seconds: read {log}.")

    def _pause(self, seconds: float) -> None:
        if self.stop_requested:
            raise StopRequestedError
        for child in self.children:
            if not child.is_alive():
                raise StackError(
                    find_configuration_error(child.log)
                    or f"The {child.name} has ended ({describe_exit(child.process)}), so the stack "
                    f"ends too: read {child.log}, then start again."
                )
        time.sleep(seconds)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True


def _require_different(children: Sequence[Child]) -> None:
    first: dict[int, Child] = {}
    for child in children:
        other = first.setdefault(child.port, child)
        if other is not child:
            raise StackError(
                f"The {other.name} and the {child.name} cannot both use port {child.port}: "
                f"choose another with {other.option} or {child.option}."
            )


def record_children(path: Path, pids: Iterable[int]) -> None:
    """Record the running processes."""
    write_private_file(path, json.dumps({str(pid): _identify(pid) for pid in pids}))


def kill_leftovers(path: Path) -> None:
    """Kill the recorded processes that are still the same, then delete the record."""
    for pid, identity in _read_record(path).items():
        if identity and identity == _identify(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    path.unlink(missing_ok=True)


def _read_record(path: Path) -> dict[int, str]:
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        return {int(pid): str(identity) for pid, identity in recorded.items()}
    except (OSError, ValueError, AttributeError):  # none, or not a record
        return {}


def _identify(pid: int) -> str:
    """Return the start time and the command line of a process, or "" if there is none."""
    try:
        done = subprocess.run(
            ["ps", "-ww", "-o", "lstart=", "-o", "command=", "-p", str(pid)],  # noqa: S607
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
