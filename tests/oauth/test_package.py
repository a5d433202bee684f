"""What the package offers by its own name."""

import subprocess
import sys
from pathlib import Path


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
