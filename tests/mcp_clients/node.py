"""Node 22 and the programs in JavaScript that `npm ci` brought into this folder."""

import platform
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
MACHINES = {"x86_64": "x64", "aarch64": "arm64"}


def binary() -> Path:
    """Return Node itself, as npm has it for this machine."""
    machine = MACHINES.get(platform.machine(), platform.machine())
    return MODULES / f"node-linux-{machine}" / "bin" / "node"


def command(*words: str | Path) -> list[str | Path]:
    """Return the command that runs a program in JavaScript."""
    return [binary(), *words]


def missing(package: str) -> str | None:
    """Return why a package cannot be run; None where it can."""
    for each in (binary(), MODULES / package / "package.json"):
        if not each.is_file():
            return f"{each.relative_to(FOLDER)} is missing: run `make mcp-clients`."
    return None


def unable(program: Path) -> str | None:
    """Return why a program does not run on this machine; None where it tells its version."""
    done = subprocess.run(
        [binary(), program, "--version"], capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip()[-200:] if done.returncode else None
