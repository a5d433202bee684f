"""The code as it was before the fast path, unpacked beside this one: measured in the same run.

Its programs run with the packages of today, a faster HTTP parser among them.
"""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from gateway_site.local.processes import ROOT

COMMIT = "a20ae21"


def unpacked(folder: Path) -> Path:
    """Unpack it; return where. Raises LookupError where this is no checkout that has it."""
    try:
        archive = subprocess.run(
            ["git", "archive", COMMIT],  # noqa: S607 -- the git of whoever measures
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
