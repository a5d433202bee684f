"""`import_sessions` in a project that has no sessions in its database."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_app_that_is_not_installed_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "import_sessions", "--no-input"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "INSTALLED_APPS" in done.stderr
    assert "Traceback" not in done.stderr
