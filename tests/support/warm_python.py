"""Python processes that begin as forks of one that has already imported Django and its like.

To import them takes most of the CPU of a short command, and the tests run more than a hundred. Such
a process begins with no settings, none of our modules and no thread, and is a child of the test's
process as any other; `subprocess` starts what cannot begin so. What `forking_python` forks.

Not for tests of what a process imports, or of how an installed command starts.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, https://man7.org/linux/man-pages/man2/prctl.2.html
# What is read before Python runs anything; the forks read these two.
READ_AT_THE_START = ("PYTHON", "LD_", "MALLOC_", "OPENSSL_")
READ_BY_FORKS = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
INHERITED = dict(os.environ)  # before a test changes it


def order_of(
    command: Sequence[Any], environment: Mapping[str, str], folder: Any
) -> dict[str, Any] | None:
    """Return what a fork is to run for a command; None if it needs an interpreter of its own."""
    python, *rest = map(os.fspath, command)
    early = {name for name in environment if name.startswith(READ_AT_THE_START)} - READ_BY_FORKS
    is_plain = python == sys.executable and sys.platform == "linux"
    if not is_plain or any(environment[name] != INHERITED.get(name) for name in early):
        return None
    options: list[str] = []
    while rest and rest[0].startswith("-W"):
        options.append(rest.pop(1) if rest[0] == "-W" else rest[0][2:])
        del rest[0]
    kind = rest.pop(0) if rest and rest[0] in {"-c", "-m"} else ""
    folder = Path(folder or Path.cwd())
    if not rest or (not kind and not (folder / rest[0]).is_file()):
        return None
    return {
        "kind": kind,
        "what": rest[0],
        "arguments": rest[1:],
        "warnings": options,
        "environment": dict(environment),
        "folder": os.fspath(folder),
        "command": [python, *map(os.fspath, command[1:])],
    }


class Forker:
    """The process that forks, and the socket to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        here = Path(__file__).with_name("forking_python.py").resolve()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, str(here), str(number)],
                env={name: value for name, value in INHERITED.items() if name != "PYTHONPATH"},
                cwd="/",
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
            )

    def fork(self, order: dict[str, Any], streams: Sequence[int]) -> int:
        """Return the id of a process that has become a child of this one."""
        request = json.dumps(order).encode()
        libc = ctypes.CDLL(None)
        with self._lock:
            libc.prctl(SUBREAPER, 1, 0, 0, 0)  # whose parent ends: it comes to us
            try:
                socket.send_fds(self._socket, [len(request).to_bytes(8, "big")], list(streams))
                self._socket.sendall(request)
                response = self._socket.recv(8)
            finally:
                libc.prctl(SUBREAPER, 0, 0, 0, 0)
        assert response, "the process that forks has ended"
        return int.from_bytes(response, "big")

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_forkers: list[Forker] = []
_lock = threading.Lock()


def forker() -> Forker:
    with _lock:
        if not _forkers or _forkers[0].owner != os.getpid():
            _forkers[:] = [Forker()]
        return _forkers[0]


def close() -> None:
    """End the process that forks, if there is one."""
    while _forkers:
        _forkers.pop().close()


class Popen(subprocess.Popen[Any]):
    """As `subprocess.Popen`: a fork where the command and the environment allow it."""

    def _execute_child(self, *arguments: Any) -> None:
        command, executable, preexec, _, passed, folder, environment, _, _, shell = arguments[:10]
        streams, (session, group) = arguments[10:16], arguments[-2:]
        order = None
        if not (executable or preexec or passed or shell or session or group != -1):
            variables = os.environ if environment is None else environment
            order = order_of(command, variables, folder)
        if order is None:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        p2cread, _, _, c2pwrite, _, errwrite = streams
        theirs = [
            own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))
        ]
        try:
            self.pid = forker().fork(order, theirs)
            self._child_created = True
        finally:
            self._close_pipe_fds(*streams)  # type: ignore[attr-defined]


def run(
    command: Sequence[Any],
    *,
    timeout: float | None = None,
    check: bool = False,
    capture_output: bool = False,
    **options: Any,
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` with text, without input."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done
