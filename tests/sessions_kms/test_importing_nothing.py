"""`import_sessions` in a project that has no sessions in its database."""

import os
import sys

import pytest

from tests.support.processes import run_to_end


@pytest.mark.slow
def test_missing_app_is_reported() -> None:
    done = run_to_end(
        [sys.executable, "manage.py", "import_sessions", "--no-input"],
        os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    assert done.returncode == 1
    assert "INSTALLED_APPS" in done.stderr
    assert "Traceback" not in done.stderr
