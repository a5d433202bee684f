"""Both drivers of coroutines, for tests that run with either."""

import asyncio

import pytest

from sessions_kms.concurrency.waits import run_sync

DRIVERS = pytest.mark.parametrize("drive", [run_sync, asyncio.run], ids=["thread", "loop"])
