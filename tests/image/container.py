"""An image of `make image-check`, run as a container would be: by bubblewrap, without an engine.

The root is read-only, `/tmp` alone can be written, the user is the image's, and the environment is
the image's and what is given, no more. The network is this machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

END_WITHIN = 45  # seconds, as deploy/ gives a container


@dataclass(frozen=True)
class Image:
    """A built image: the folder of its root, and its configuration."""

    root: Path
    config: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path, target: str) -> Image:
        built = json.loads((folder / f"{target}.json").read_text(encoding="utf-8"))
        return cls((folder / target).resolve(), built["Docker"]["config"])

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.split("=", 1) for each in self.config["Env"])


@dataclass
class Container:
    """How an image is run: with variables, and with folders of this machine."""

    image: Image
    variables: Mapping[str, str] = field(default_factory=dict)
    read_only: Mapping[str, Path] = field(default_factory=dict)  # by their place in the container
    writable: Mapping[str, Path] = field(default_factory=dict)

    def command(self, words: Sequence[str]) -> list[str]:
        user, group = self.image.config["User"].split(":")
        environment = {"HOME": "/", **self.image.environment, **self.variables}
        return [
            "bwrap", "--die-with-parent", "--unshare-user", "--unshare-pid", "--as-pid-1",
            "--uid", user, "--gid", group, "--clearenv",
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            "--ro-bind", str(self.image.root), "/", "--proc", "/proc", "--dev", "/dev",
            "--tmpfs", "/tmp",  # noqa: S108 - the container's own
            "--tmpfs", "/run", *self._folders(), "--remount-ro", "/run",
            *words,
        ]  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the image to its end, with these arguments in place of its own."""
        return self._finish([*self.image.config["Entrypoint"], *arguments])

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another program of the image to its end."""
        return self._finish(words)

    @contextmanager
    def running(self, *arguments: str, log: Path) -> Iterator[psutil.Process]:
        """Run the image, or these arguments of it; yield its first process, and kill it at last."""
        words = [*self.image.config["Entrypoint"], *(arguments or self.image.config["Cmd"])]
        with self.starting(words, log) as first:
            yield first

    @contextmanager
    def starting(self, words: Sequence[str], log: Path) -> Iterator[psutil.Process]:
        """Run a program of the image; yield its first process, and kill it at last."""
        with (
            log.open("ab") as output,
            subprocess.Popen(
                self.command(words), env=dict(os.environ), stdout=output, stderr=output
            ) as process,
        ):
            sandbox = psutil.Process(process.pid)
            try:
                yield _first_process(sandbox)
            finally:
                process.kill()

    def _finish(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(words), capture_output=True, text=True, timeout=120, check=False
        )

    def _folders(self) -> Iterator[str]:
        for place, folder in self.read_only.items():
            yield from ("--ro-bind", str(folder), place)
        for place, folder in self.writable.items():
            yield from ("--bind", str(folder), place)


def _first_process(sandbox: psutil.Process) -> psutil.Process:
    """Return the process with the id 1 in the sandbox, once it is there."""
    while sandbox.is_running() and sandbox.status() != psutil.STATUS_ZOMBIE:
        if children := sandbox.children():
            return children[0]
    raise AssertionError("the sandbox has ended")
