"""What the package offers by its own name."""

import subprocess
import sys
from pathlib import Path

import pytest

import oauth


def test_package_is_imported_before_there_are_settings() -> None:
    code = "import oauth, sys; print([name for name in sys.modules if 'django' in name])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", oauth.__all__)
def test_name_is_there(name: str) -> None:
    assert getattr(oauth, name).__name__ == name


def test_other_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'token'"):
        oauth.token  # noqa: B018 - that is the test
