"""Children that outlived a killed supervisor, where the system does not end them with it.

The ids of running children enter a file; at the next start those that are provably the
same processes are killed. A reused id is recognized by its start time and command line.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gateway_site.local.state import write_private


def record(path: Path, pids: Iterable[int]) -> None:
    """Write down which processes run now."""
    write_private(path, json.dumps({str(pid): _identity(pid) for pid in pids}))


def kill_recorded(path: Path) -> None:
    """Kill what is written down and is still the same process, then forget all of it."""
    for pid, identity in _read(path).items():
        if identity and identity == _identity(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    path.unlink(missing_ok=True)


def _read(path: Path) -> dict[int, str]:
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        return {int(pid): str(identity) for pid, identity in recorded.items()}
    except (OSError, ValueError, AttributeError):  # none, or not what `record` wrote
        return {}


def _identity(pid: int) -> str:
    """Return the start time and the command line of a process; nothing when there is none."""
    try:
        answer = subprocess.run(
            ["ps", "-ww", "-o", "lstart=", "-o", "command=", "-p", str(pid)],  # noqa: S607
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()
