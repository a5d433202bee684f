"""A virtual environment that has nothing of the checkout, and commands in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DIST = Path(os.environ.get("RELEASE_DIST", "dist")).resolve()


@dataclass(frozen=True)
class Pair:
    """A version of Python, by the names of its interpreter, and a series of Django."""

    name: str
    pythons: tuple[str, ...]
    django: str

    @cached_property
    def python(self) -> str:
        """The first interpreter that can make a virtual environment, or that of the tests."""
        for name in self.pythons:
            path = shutil.which(name)
            code = "import ensurepip, venv"
            if path and subprocess.run([path, "-c", code], check=False, stderr=-3).returncode == 0:
                return path
        return sys.executable


PAIRS = [
    Pair("oldest", ("python3.11", "/usr/bin/python3.11", "python3.12"), "5.2"),
    Pair(
        "newest",
        ("python3.14", "/usr/bin/python3.14", "python3.13", "/usr/bin/python3.13"),
        "6.1",
    ),
]


class Environment:
    """A virtual environment, and an empty folder in which its commands run."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.folder = folder
        self.django = pair.django
        self.current = folder / "current"
        subprocess.run([pair.python, "-m", "venv", str(folder / "venv")], check=True)
        self.current.mkdir()
        self.python = folder / "venv/bin/python"

    def install(self, *requirements: str) -> None:
        """Install by pip, from dist/ and the index; every dependency must then be there."""
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--find-links", str(DIST)]
        self._check([*command, f"django~={self.django}.0", *requirements])
        self._check([str(self.python), "-m", "pip", "check"])

    def pip(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", *arguments]
        self._check(command)

    def command(self, name: str) -> str:
        """Return the path of a program that was installed."""
        return str(self.python.parent / name)

    def run(
        self, *command: str, variables: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the empty folder, with these variables alone."""
        done = subprocess.run(
            command,
            cwd=self.current,
            env={"PATH": os.environ["PATH"], **(variables or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    @contextmanager
    def running(
        self, *command: str, variables: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a command in the empty folder until the block ends."""
        with subprocess.Popen(
            command,
            cwd=self.current,
            env={"PATH": os.environ["PATH"], **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def list_installed(self) -> dict[str, tuple[int, int]]:
        """Return every file of the environment but byte code, with its size and time."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in (self.folder / "venv").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    def _check(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
