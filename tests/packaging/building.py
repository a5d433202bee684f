"""The distribution as it is released: sdist, the wheel built from it, and a venv that has it.

Nothing is fetched: the backend and the dependencies are those of the environment of the tests.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests import ROOT


def build_sdist(folder: Path) -> Path:
    """Build the sdist from the checkout."""
    return _build("sdist", ROOT, folder)


def build_wheel(sdist: Path, folder: Path) -> Path:
    """Build the wheel from what the sdist holds, as pip does where there is no wheel."""
    _run(sys.executable, "-m", "tarfile", "-e", str(sdist), str(folder))
    return _build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


def environment_with(wheel: Path, folder: Path) -> Path:
    """Make a venv and install the wheel there; give its Python.

    pip may fetch nothing, so it fails unless what the wheel says that it needs is here.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    _show_dependencies_to(python)
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", str(wheel))
    return python


def _build(target: str, source: Path, folder: Path) -> Path:
    made = folder / target
    _run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(made), cwd=source)
    (built,) = made.iterdir()
    return built


def _show_dependencies_to(python: Path) -> None:
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    library = Path(_run(str(python), "-c", where).strip())
    (library / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")


def _run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
