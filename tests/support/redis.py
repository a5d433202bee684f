"""Debian's Redis, as a separate process in an empty folder."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import free_port, is_listening
from tests.support.waiting import wait_until


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run a Redis until the block ends; yield its URL. Skips the test if there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("NO REDIS: install Debian's redis-server")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_listening(port), "Redis listens")
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
