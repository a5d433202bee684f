"""Install pinned requirements, with a bar: `python -m gateway_site.local.packages FILE`.

Runs before anything is installed, so with the standard library alone. pip itself shows a
screen of lines, or nothing for a minute.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PATIENCE = 3.0  # seconds without a bar
WIDTH = 30
PINNED = re.compile(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==", re.MULTILINE)
# A package is named once when it is looked for, and the last step names them all at once.
FOUND = re.compile(r"(?:Collecting|Requirement already satisfied:) ")


def main(requirements: str) -> int:
    """Return pip's exit status; what it said is shown where it failed."""
    total = len(PINNED.findall(Path(requirements).read_text(encoding="utf-8")))
    print(f"Packages: installing {total}, from {requirements}.", flush=True)  # noqa: T201 - it is a program
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--require-hashes", "-r", requirements]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        if pip.stdout is None:
            raise AssertionError("Its output was asked for.")
        said = followed(pip.stdout, total, sys.stderr.write if sys.stderr.isatty() else None)
    if pip.returncode:
        sys.stderr.write("".join(said))
    return pip.returncode


def followed(
    lines: Iterable[str],
    total: int,
    draw: Callable[[str], object] | None,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Return all lines, and draw a bar of the packages that they name, if it takes long."""
    said, began, drawn = [], clock(), False
    for line in lines:
        said.append(line)
        if draw is not None and clock() - began > PATIENCE:
            draw(f"\r{bar(sum(map(bool, map(FOUND.match, said))), total)}")
            drawn = True
    if draw is not None and drawn:
        draw("\r" + " " * (WIDTH + 20) + "\r")
    return said


def bar(done: int, total: int) -> str:
    """Return a line that shows so many of a total."""
    part = min(done, total) * WIDTH // max(total, 1)
    return f"[{'#' * part}{' ' * (WIDTH - part)}] {min(done, total)} of {total}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
