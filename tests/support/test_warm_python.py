"""A process that begins as a fork is what Python would have started."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import forking_python, warm_python

SHOW = """
import __main__, json, os, signal, sys, threading, warnings
print(json.dumps({
    "arguments": [sys.argv, sys.orig_argv, __name__, __main__.__dict__.get("__file__")],
    "path": sys.path,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "descriptors": [n for n in range(3, 200) if os.path.exists(f"/proc/self/fd/{n}")],
    "parent": os.getppid(),
    "group": os.getpgid(0),
    "streams": [[each.encoding, each.errors, each.line_buffering, each.name]
                for each in (sys.stdin, sys.stdout, sys.stderr)],
    "signals": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
    "threads": threading.active_count(),
    "ours": [name for name in sys.modules if name.startswith(("tests", "oauth", "sessions_kms"))],
    "byte code": sys.dont_write_bytecode,
    "warnings": sys.warnoptions,
    "asked": input(),
}))
sys.stderr.write("said")
sys.exit(3)
"""
ENDS = {
    "returns": "pass",
    "exits with a text": "raise SystemExit('no')",
    "raises": "1 / 0",
    "is interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "is killed": "import os; os.kill(os.getpid(), 9)",
    "warns": "import warnings; warnings.warn('careful')",
    "leaves a thread": "import threading as t; t.Timer(0.1, print, ['late']).start()",
}
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="NO FORKS: not Linux")


def run(
    start: type["subprocess.Popen[str]"], options: list[str], folder: Path, **variables: str
) -> tuple[int, str, str]:
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **variables}
    with start(
        [sys.executable, *options],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate("answer\n", timeout=60)
    return process.returncode, out, err


@only_linux
@pytest.mark.parametrize("kind", ["code", "module", "script"])
def test_fork_is_as_a_process_of_python(tmp_path: Path, kind: str) -> None:
    (tmp_path / "shown.py").write_text(SHOW, encoding="utf-8")
    (tmp_path / "more").mkdir()
    options = {
        "code": ["-c", SHOW, "a", "-b"],
        "module": ["-W", "error", "-m", "shown", "a"],
        "script": ["-Wignore", "shown.py", "a"],
    }[kind]
    variables = {"PYTHONPATH": "more", "PYTHONDONTWRITEBYTECODE": "1"}
    forked = run(warm_python.Popen, options, tmp_path, **variables)
    assert forked == run(subprocess.Popen, options, tmp_path, **variables)
    assert forked[0] == 3
    assert '"asked": "answer"' in forked[1]


@only_linux
@pytest.mark.parametrize("end", ENDS)
def test_fork_ends_as_a_process_of_python(tmp_path: Path, end: str) -> None:
    options = ["-W", "error", "-c", ENDS[end]]
    status, out, err = run(warm_python.Popen, options, tmp_path)
    expected = run(subprocess.Popen, options, tmp_path)
    assert (status, out, err.splitlines()[-1:]) == (*expected[:2], expected[2].splitlines()[-1:])


@pytest.mark.slow
@only_linux
def test_process_that_forks_starts_without_a_package_that_is_missing() -> None:
    """The benchmark's environment has no pytest."""
    ours, theirs = socket.socketpair()
    code = f"""
import runpy, sys
sys.modules["_pytest"] = None
sys.argv = ["", "{theirs.fileno()}"]
runpy.run_path({forking_python.__file__!r}, run_name="__main__")
"""
    ours.close()  # It has nothing to fork.
    with theirs:
        subprocess.run([sys.executable, "-c", code], pass_fds=[theirs.fileno()], check=True)


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ([sys.executable, "-P", "-c", ""], {}),
        ([sys.executable, "-c", ""], {"PYTHONHASHSEED": "0"}),
        ([sys.executable], {}),
        (["/bin/true"], {}),
    ],
)
def test_what_a_fork_cannot_be_is_started(command: list[str], variables: dict[str, str]) -> None:
    assert warm_python.order_of(command, variables, None) is None
