"""A client that is a command: run once for each sign-in and each call, its state in its home."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import ROOT
from tests.mcp_clients.client import TIMEOUT, CallFailed
from tests.mcp_clients.place import Place


def output(
    place: Place,
    command: Sequence[str | Path],
    variables: Mapping[str, str] | None = None,
    seconds: float = TIMEOUT,
    *,
    cwd: Path = ROOT,
    stdin: int = subprocess.DEVNULL,
) -> str:
    """Run a command in a client's place; return what it printed.

    Raises CallFailed when it fails, with its last line, and when it does not end.
    """
    with place.log.open("a", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                command,
                env=place.environment | dict(variables or {}),
                cwd=cwd,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CallFailed(f"It did not end within {seconds:g} s.") from None
    if done.returncode:
        raise CallFailed(last_line(done.stdout) or last_line(place.log.read_text(encoding="utf-8")))
    return done.stdout


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:200]
