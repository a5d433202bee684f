"""The distributions as they are released: sdists, wheels built from them, and a venv with one.

Nothing is fetched: the backend and the dependencies are those of the environment of the tests.
"""

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

from sessions_kms.hints.pages import list_pages
from tests import ROOT
from tests.support.catalogs import load_script

ENGINE = "django-sessions-kms"
GATEWAY = "django-sessions-kms-gateway"
SOURCES = {ENGINE: ROOT, GATEWAY: ROOT / "packaging/gateway"}
PACKAGES = {ENGINE: ("sessions_kms",), GATEWAY: ("gateway_site", "oauth")}


def load_project(name: str) -> dict[str, Any]:
    """Return a distribution's `pyproject.toml`."""
    return tomllib.loads((SOURCES[name] / "pyproject.toml").read_text(encoding="utf-8"))


def load_hooks() -> ModuleType:
    """Return the module of hatchling's hooks."""
    return load_script(SOURCES[GATEWAY] / "hatch_build.py")


def build_sdist(source: Path, folder: Path) -> Path:
    """Build an sdist from a folder that has a `pyproject.toml`."""
    return _build("sdist", source, folder)


def build_wheel(source: Path, folder: Path) -> Path:
    """Build a wheel from a folder that has a `pyproject.toml`."""
    return _build("wheel", source, folder)


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist; return its folder."""
    _run(sys.executable, "-m", "tarfile", "-e", str(sdist), str(folder))
    return folder / sdist.name.removesuffix(".tar.gz")


def list_files(package: str) -> set[str]:
    """Return the files of a package that a wheel has to hold."""
    own = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".orig"}
    }
    return own | {f"{package}/docs/{name}.md" for name in list_pages() if package == "sessions_kms"}


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
