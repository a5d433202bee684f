"""What `make` leaves behind when a step fails, so that the next one goes on as it should."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

MAKE = shutil.which("make")
# A Python that makes an environment and, without a file `whole`, then fails, as Debian's does
# where python3-venv is not installed.
PYTHON = """#!/bin/sh
[ "$1" = -c ] && exit 0
mkdir -p "$3/bin"
printf '#!/bin/sh\\n[ -e whole ]\\n' > "$3/bin/python"
chmod +x "$3/bin/python"
[ -e whole ]
"""


@pytest.mark.skipif(MAKE is None, reason="NO MAKE: install it")
def test_environment_that_could_not_be_made_is_made_anew(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "local.txt").touch()
    python = tmp_path / "python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)

    assert make(tmp_path) != 0
    assert not (tmp_path / ".venv/bin/python").exists()
    (tmp_path / "whole").touch()
    assert make(tmp_path) == 0
    assert (tmp_path / ".venv/.local-installed").exists()


def make(folder: Path) -> int:
    assert MAKE is not None
    return subprocess.run(
        [MAKE, "PYTHON=./python", ".venv/.local-installed"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        timeout=60,
    ).returncode
