"""Both drivers of steps, for a test that holds for either."""

import asyncio

import pytest

from sessions_kms.concurrency.waits import run_sync

DRIVERS = pytest.mark.parametrize("drive", [run_sync, asyncio.run], ids=["thread", "loop"])
