"""An earlier version of the code, from before the fast path, measured in the same run.

Its programs run with today's packages, including a faster HTTP parser.
"""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from tests import ROOT

COMMIT = "a20ae21"


def unpack(folder: Path) -> Path:
    """Unpack it and return its folder. Raises LookupError if this checkout does not have it."""
    try:
        archive = subprocess.run(
            ["git", "archive", COMMIT],  # noqa: S607 -- from the PATH of the person who measures
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise LookupError(COMMIT) from None
    tree = folder / COMMIT
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(tree, filter="data")
    return tree
