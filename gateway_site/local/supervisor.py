"""Start processes in order, watch them, and end all of them together.

Children and steps enter; the process runs until it is asked to end or a child dies.
One thread: signals set a flag that each wait looks at.
"""

import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from gateway_site.local import leftovers
from gateway_site.local.processes import (
    Child,
    StackError,
    how_it_ended,
    last_words,
    open_log,
    require_free_port,
    spawn,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL = 0.05  # seconds between two looks while something starts
WATCH = 0.25  # and once all runs
START_WITHIN = 180  # seconds, on a busy machine, for a child to be ready or a step to end
PORT_FREE_WITHIN = 2  # seconds for the processes of a killed run to go


class StopRequestedError(Exception):
    """The person, or the system, asked the stack to end."""


class Supervisor:
    """A context: whatever was started in it has ended when it is left."""

    def __init__(self, running: Path, logs: Path) -> None:
        """Take the record of what runs, and the folder of logs."""
        self.running = running
        self.logs = logs
        self.children: list[Child] = []
        self.stop_requested = False

    def __enter__(self) -> Self:
        self.handlers = {number: signal.signal(number, self._stop) for number in SIGNALS}
        leftovers.kill_recorded(self.running)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in reversed(self.children):
            child.end()
        self.running.unlink(missing_ok=True)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def require_ports(self, children: Sequence[Child]) -> None:
        """Raise StackError, before anything is started, when a port is not free, or given twice."""
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
        """Start the children together and return once each of them is ready."""
        for child in children:
            self.children.append(child)
            child.start()
        pids = [child.process.pid for child in self.children if child.process]
        leftovers.record(self.running, pids)
        for child in children:
            self._wait(child.is_ready, f"The {child.name} is not ready", child.log)

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """Run a step to its end and return what it printed."""
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
                    last_words(path) or f"{name} failed ({how_it_ended(process)}): read {path}."
                )
            output.seek(0)
            return output.read().decode("utf-8")

    def watch(self) -> None:
        """Return never: raise when a child has died, or when the stack is asked to end."""
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
                    last_words(child.log)
                    or f"The {child.name} has ended ({how_it_ended(child.process)}) and the rest "
                    f"with it: read {child.log}, then start again."
                )
        time.sleep(seconds)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True


def _require_different(children: Sequence[Child]) -> None:
    first: dict[int, Child] = {}
    for child in children:
        other = first.setdefault(child.port, child)
        if other is not child:
            raise StackError(
                f"The {other.name} and the {child.name} cannot have both port {child.port}: "
                f"choose another with {other.option} or {child.option}."
            )
