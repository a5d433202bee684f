"""The processes of the local stack; each ends together with its parent."""

import ctypes
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

EXTRA = "pip install 'django-sessions-kms-gateway[local]'"  # which has what the children need
HOST = "127.0.0.1"
PR_SET_PDEATHSIG = 1  # prctl(2)
LOG_END = 20_000  # characters at the end of a log that are searched for an error
REFUSAL = re.compile(r"^(?:[\w.]*ImproperlyConfigured|CommandError): (.+)", re.MULTILINE)
CHECKS = re.compile(r"^SystemCheckError: .*?^ERRORS:\n(.+?)(?:\n\n|\Z)", re.MULTILINE | re.DOTALL)
END_WITHIN = 4  # seconds between SIGTERM and SIGKILL


class StackError(Exception):
    """The stack cannot run; the message is one sentence for the user."""


@dataclass
class Child:
    """One long-running process that listens on a port.

    It is ready when `health` (a path) answers 200 or, without one, when it accepts a
    connection.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    option: str
    log: Path
    health: str | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with open_log(self.log) as log:
            self.process = spawn(self.command, self.environment, log, log)

    def is_ready(self) -> bool:
        return (
            _responds_with_200(self.port, self.health)
            if self.health
            else _accepts_connections(self.port)
        )

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Ask the process to end; kill it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> "subprocess.Popen[bytes]":
    """Start a process that ignores the terminal's Ctrl-C and, on Linux, dies with this one.

    Raises StackError if the program is missing.
    """
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
            preexec_fn=_build_parent_tie(),  # noqa: PLW1509 -- there is one thread
        )
    except OSError as error:
        raise StackError(f"{command[0]} cannot be run ({error.strerror}): run `{EXTRA}`.") from None


def describe_exit(process: "subprocess.Popen[bytes] | None") -> str:
    code = process.returncode if process else None
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def find_configuration_error(log: Path) -> str:
    """Return the configuration error that Django reports at a log's end, or "".

    Only these errors are quoted: each is a sentence for the operator, without any value.
    """
    text = log.read_text(encoding="utf-8", errors="replace")[-LOG_END:]
    for pattern in (CHECKS, REFUSAL):
        if found := list(pattern.finditer(text)):
            return found[-1][1].strip()
    return ""


def open_log(path: Path) -> IO[bytes]:
    """Start a new log; keep that of the previous run beside it."""
    if path.exists():
        path.replace(path.with_name(path.name + ".1"))
    return path.open("wb")


def require_free_port(port: int, name: str, option: str) -> None:
    """Raise StackError if the port is in use."""
    try:
        with socket.create_server((HOST, port)):
            return
    except OSError as error:
        raise StackError(
            f"Port {port}, for the {name}, is not free ({error.strerror}): stop what listens on "
            f"it, or choose another with {option}."
        ) from None


def _build_parent_tie() -> Callable[[], None] | None:
    """Return a function for a new process that ties it to this one: it is killed with it."""
    if sys.platform != "linux":
        return None  # On other systems, the next start kills it: `supervisor.kill_leftovers`.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # The parent has already died.
            os._exit(1)

    return tie


def _accepts_connections(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex((HOST, port)) == 0


def _responds_with_200(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)  # which knows no proxy
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
