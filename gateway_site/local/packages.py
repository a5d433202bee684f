"""Make the virtual environment of `make`: `python -m gateway_site.local.packages FOLDER FILE`.

Runs before anything is installed, so with the standard library alone. uv does it where it is on the
PATH and gets at the packages, which takes seconds; otherwise venv and pip, whose screen of lines
is shown only if it fails. Whatever fails ends in one sentence.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PINNED = re.compile(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==", re.MULTILINE)

INTERRUPTED = "Interrupted. Nothing is lost: run the same command again."
FAILED = "The packages could not be installed; the lines above are the installer's."
# What the installers say of common failures, and the one sentence for each.
REASONS = {
    r"No space left on device": "The disk is full: make room, and run the same command again.",
    r"Disk quota exceeded": "The disk quota is used up: make room, and run the same command again.",
    r"No matching distribution found|Failed to fetch|NewConnectionError|ProxyError|dns error"
    r"|Temporary failure in name resolution|Name or service not known|Connection refused"
    r"|Read timed out|timed out": (
        "The package index cannot be reached: check the network, HTTPS_PROXY or the index "
        "(PIP_INDEX_URL, UV_DEFAULT_INDEX), and run the same command again."
    ),
    r"ensurepip is not available": (
        "Python lacks its module venv: on Debian and Ubuntu, `apt install python3-venv`."
    ),
}


def main(folder: str, requirements: str) -> int:
    """Return 0 once the packages are there; else print why they are not."""
    try:
        return _install(Path(folder), requirements)
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{INTERRUPTED}\n")
    except OSError as error:
        sys.stderr.write(f"{reason(str(error)) or error}\n")
    return 1


def _install(folder: Path, requirements: str) -> int:
    total = len(PINNED.findall(Path(requirements).read_text(encoding="utf-8")))
    print(f"Packages: installing {total}, from {requirements}.", flush=True)  # noqa: T201 - it is a program
    if (uv := shutil.which("uv")) and _install_by_uv(uv, folder, requirements):
        return 0
    return _install_by_pip(folder, requirements)


def _install_by_uv(uv: str, folder: Path, requirements: str) -> bool:
    """Return whether uv did it; it may know no index where pip has one in its own settings."""
    python = _python(folder)
    make = [uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(folder)]
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    install += ["--require-hashes", "-r", requirements]
    commands = [install] if python.exists() else [make, install]
    return all(
        subprocess.run(each, stderr=subprocess.DEVNULL, check=False).returncode == 0
        for each in commands
    )


def _install_by_pip(folder: Path, requirements: str) -> int:
    python = _python(folder)
    if not python.exists() and (failed := _make_environment(folder)):
        return failed
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--require-hashes", "-r", requirements]
    return _run(command)


def _make_environment(folder: Path) -> int:
    failed = 1
    try:
        failed = _run([sys.executable, "-m", "venv", str(folder)])
    finally:
        if failed:  # Half of one would be taken for a whole one.
            shutil.rmtree(folder, ignore_errors=True)
    return failed


def _run(command: Sequence[str]) -> int:
    """Run a command; print one sentence if it fails, after its output if the failure is unknown."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        known = reason(done.stdout)
        sys.stderr.write(f"{known}\n" if known else f"{done.stdout}{FAILED}\n")
    return done.returncode


def reason(said: str) -> str | None:
    """Return the sentence for what an installer said, if it is a failure that is known."""
    return next((sentence for words, sentence in REASONS.items() if re.search(words, said)), None)


def _python(folder: Path) -> Path:
    return folder / "bin/python"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
