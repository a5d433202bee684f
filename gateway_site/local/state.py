"""The folder in which the local stack keeps what must survive a restart.

A path enters; a private folder, persistent secrets and an exclusive lock leave. Knows
nothing of what the secrets are for.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

LOCK = "lock"  # the name of the file
LOCK_TRIES = 20
LOCK_PAUSE = 0.02  # seconds; whoever asks whether the folder is locked holds it for less


class StateInUseError(Exception):
    """Another process holds the lock of this state folder."""


def private_folder(path: Path) -> Path:
    """Create the folder where missing, and leave it readable by its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step: a process killed in between leaves the old one whole."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:  # mkstemp makes it 0600
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def persistent_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret kept in the file; make and keep one where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        secret = make()
    write_private(path, secret)
    return secret


def lock(folder: Path) -> TextIOWrapper:
    """Take the folder for this process, until the returned file is closed or the process ends.

    Raises StateInUseError when another process has it.
    """
    file = (folder / LOCK).open("a", encoding="utf-8")
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        else:
            return file
    file.close()
    raise StateInUseError(str(folder))


def is_locked(folder: Path) -> bool:
    """Tell whether a process has the folder."""
    try:
        file = (folder / LOCK).open(encoding="utf-8")
    except (FileNotFoundError, PermissionError):
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
