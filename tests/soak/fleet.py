"""The gateway's processes: real, on ports that they keep, killed and started again."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from tests import ROOT
from tests.support.processes import free_ports
from tests.support.waiting import wait_until

START_WITHIN = 60  # seconds


class Process:
    """One gateway on its own server."""

    def __init__(self, environment: Mapping[str, str], log: Path, *options: str) -> None:
        """Start it, with options of the server's command line."""
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._log = log
        self._options = options
        self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "gateway_site.server"]
        options = ["--port", str(self.port), "--log-level", "warning", *self._options]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *options], env=self._environment, cwd=ROOT, stdout=output, stderr=output
            )

    def wait(self) -> None:
        """Wait until it answers."""
        wait_until(self._is_healthy, f"{self.url} answers", START_WITHIN)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._process.terminate()
        self._process.wait(60)

    def kill(self) -> None:
        """End it and its workers without a chance to tidy up (kill -9)."""
        with suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(self.pid).children(recursive=True):
                worker.kill()
        self._process.kill()
        self._process.wait()

    def _is_healthy(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def running_fleet(
    count: int, environment: Mapping[str, str], folder: Path, *options: str
) -> Iterator[list[Process]]:
    """Run some processes until the block ends."""
    fleet = [
        Process(environment, folder / f"gateway-{number}.log", *options) for number in range(count)
    ]
    try:
        for process in fleet:
            process.wait()
        yield fleet
    finally:
        for process in fleet:
            process.kill()
