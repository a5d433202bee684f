"""Create the virtual environment of `make`: `packaging/environment.py FOLDER FILE`.

It runs before anything is installed, so it uses only the standard library. If uv is on the PATH and
can fetch the packages, it installs them in seconds; otherwise venv and pip do. Their output is
shown only if they fail, and every failure ends with one sentence.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PINNED = re.compile(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==", re.MULTILINE)

INTERRUPTED = "Interrupted. Run the same command again to continue."
FAILED = "Could not install the packages; see the installer's output above."
# Installers' messages for common failures, and our sentence for each.
REASONS = {
    r"No space left on device": "The disk is full: free space and run the same command again.",
    r"Disk quota exceeded": "The disk quota is used up: free space and run the same command again.",
    r"No matching distribution found|Failed to fetch|NewConnectionError|ProxyError|dns error"
    r"|Temporary failure in name resolution|Name or service not known|Connection refused"
    r"|Read timed out|timed out": (
        "The package index cannot be reached: check the network, HTTPS_PROXY or the index "
        "(PIP_INDEX_URL, UV_DEFAULT_INDEX), and run the same command again."
    ),
    r"ensurepip is not available": (
        "Python's module venv is missing: on Debian and Ubuntu, run `apt install python3-venv`."
    ),
}


def main(folder: str, requirements: str) -> int:
    """Install the packages. Return 0, or print why it failed and return 1."""
    try:
        return _install(Path(folder), requirements)
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{INTERRUPTED}\n")
    except OSError as error:
        sys.stderr.write(f"{find_reason(str(error)) or error}\n")
    return 1


def _install(folder: Path, requirements: str) -> int:
    total = len(PINNED.findall(Path(requirements).read_text(encoding="utf-8")))
    print(f"Installing {total} packages from {requirements}.", flush=True)
    if (uv := shutil.which("uv")) and _install_by_uv(uv, folder, requirements):
        return 0
    return _install_by_pip(folder, requirements)


def _install_by_uv(uv: str, folder: Path, requirements: str) -> bool:
    """Return True if uv succeeded; it does not read the index from pip's settings."""
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
    if not python.exists() and (failed := _create_environment(folder)):
        return failed
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--require-hashes", "-r", requirements]
    return _run(command)


def _create_environment(folder: Path) -> int:
    failed = 1
    try:
        failed = _run([sys.executable, "-m", "venv", str(folder)])
    finally:
        if failed:  # An incomplete one would look complete.
            shutil.rmtree(folder, ignore_errors=True)
    return failed


def _run(command: Sequence[str]) -> int:
    """Run a command; if it fails, print one sentence, for an unknown failure after its output."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        known = find_reason(done.stdout)
        sys.stderr.write(f"{known}\n" if known else f"{done.stdout}{FAILED}\n")
    return done.returncode


def find_reason(output: str) -> str | None:
    """Return the sentence for an installer's output, if the failure is a known one."""
    return next((sentence for words, sentence in REASONS.items() if re.search(words, output)), None)


def _python(folder: Path) -> Path:
    return folder / "bin/python"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
