"""Debian's Redis, as a separate process in an empty folder."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

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


@contextmanager
def closed_connections() -> Iterator[None]:
    """Close all connections to a Redis that this process opens in the block, when it ends.

    Neither Django's cache nor django-redis closes one. Until then all pools are kept: a socket
    that the garbage collector finds open is a warning, in whichever test runs just then.
    """
    redis = pytest.importorskip("redis", reason="NO redis: make VENV anew")
    construct = redis.ConnectionPool.__init__
    pools: list[Any] = []

    def construct_and_keep(pool: Any, *args: Any, **options: Any) -> None:
        construct(pool, *args, **options)
        pools.append(pool)

    try:
        with mock.patch.object(redis.ConnectionPool, "__init__", construct_and_keep):
            yield
    finally:
        for pool in pools:
            pool.disconnect()
