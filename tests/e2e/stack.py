"""A separate `manage.py runlocal` with real processes, which tests stop, restart and kill."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests import ROOT
from tests.support.processes import free_ports, lines_until, run_to_end
from tests.support.waiting import wait_until


class LocalStack:
    """One state folder and its ports, which stay the same from run to run."""

    def __init__(self, state: Path, **variables: str) -> None:
        self.state = state
        self.variables = variables
        self.gateway, self.provider, self.kms, self.dynamodb, self.mcp, self.notes = free_ports(6)
        self.url = f"http://127.0.0.1:{self.gateway}"
        self.process: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run until the block is left; it may have been killed by then."""
        try:
            self.start()
            yield
        finally:
            self.end()

    def start(self) -> None:
        """Start it if it is not running, and return when it has printed its address."""
        if self.process is not None:
            return
        self.process = subprocess.Popen(
            self._command(),
            env={"PATH": os.environ["PATH"], **self.variables},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines_until(self.process, "Logs are in")

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process is None:
            return
        with self.process:
            self.process.terminate()
        self.process = None

    def kill_everything(self) -> None:
        """`kill -9` the supervisor and each of its children, at once."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        for member in reversed(family):
            member.kill()
        self.end()
        wait_until(lambda: not any(member.is_running() for member in family), "all are gone")

    def environment(self) -> dict[str, str]:
        """What `manage.py` gives itself while the stack runs."""
        told = json.loads((self.state / "variables.json").read_text(encoding="utf-8"))
        return {"PATH": os.environ["PATH"], **told}

    def manage(
        self, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a management command against the running stack, some variables being otherwise."""
        environment = self.environment() | dict(variables or {})
        return run_to_end([sys.executable, "manage.py", *arguments], environment)

    def _command(self) -> list[str]:
        ports = {
            "--port": self.gateway,
            "--provider-port": self.provider,
            "--kms-port": self.kms,
            "--dynamodb-port": self.dynamodb,
            "--mcp-port": self.mcp,
            "--notes-port": self.notes,
        }
        options = [word for option, port in ports.items() for word in (option, str(port))]
        return [sys.executable, "manage.py", "runlocal", "--state", str(self.state), *options]


@contextmanager
def stopped(stack: LocalStack) -> Iterator[None]:
    """Have the table out of reach."""
    assert stack.process is not None
    [table] = [
        child
        for child in psutil.Process(stack.process.pid).children(recursive=True)
        if "roto-server" in " ".join(child.cmdline())
    ]
    table.suspend()
    try:
        yield
    finally:
        table.resume()
