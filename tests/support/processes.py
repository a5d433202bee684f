"""Real processes on free ports: started, awaited, and killed at the end."""

import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests import ROOT
from tests.support import warm_python
from tests.support.waiting import wait_until

Stream = IO[bytes] | int | None


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a Python module."""
    return [sys.executable, "-m", name, *arguments]


# Below the ports of sockets that ask for none: 32768 and more on Linux, 49152 elsewhere. One of
# those may have become another test's before the process that it was meant for listens on it.
PORTS = range(10_240, 32_768)


def free_ports(count: int) -> list[int]:
    """Return different ports on which nothing listens, and which the system gives to nobody."""
    found: list[int] = []
    while len(found) < count:
        # The seed of a run is the same in all its processes.
        port = random.SystemRandom().choice(PORTS)
        if port not in found and is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def free_port() -> int:
    return free_ports(1)[0]


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    stdout: Stream = None,
    stderr: Stream = None,
    end: Callable[["subprocess.Popen[str]"], None] = subprocess.Popen.kill,
) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in the project's root; kill it at the end if it still runs."""
    with warm_python.Popen(
        command, env=env, cwd=ROOT, stdout=stdout, stderr=stderr, text=True
    ) as process:
        try:
            yield process
        finally:
            end(process)


@contextmanager
def running(
    command: Sequence[str | Path], env: Mapping[str, str], log: Path, port: int
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command until the block ends; the block starts when it listens on its port."""
    with (
        log.open("ab") as output,
        started(command, env, stdout=output, stderr=output) as process,
    ):
        wait_until(lambda: process.poll() is not None or is_listening(port), f"port {port} answers")
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield process


def lines_until(process: "subprocess.Popen[str]", beginning: str = "") -> list[str]:
    """Wait for a line with this beginning, which a process prints when it is ready.

    Return the lines up to and including it.
    """
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(beginning):
            return said
    errors = process.stderr.read() if process.stderr else ""
    raise AssertionError("It ended before it was ready:\n" + "".join(said) + errors)


def run_to_end(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    seconds: float = 240,
    *,
    cwd: Path = ROOT,
    is_fresh: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, in the project's root by default; return it with its output.

    A fresh one has imported nothing before, for tests of what it imports.
    """
    return (subprocess.run if is_fresh else warm_python.run)(
        command,
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def output_of(code: str, env: Mapping[str, str] | None = None) -> str:
    """Run code in a fresh Python process, which must not fail; return its output."""
    done = run_to_end([sys.executable, "-c", code], env, is_fresh=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
