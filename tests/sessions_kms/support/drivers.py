"""Both drivers of steps, for a test that holds for either."""

import asyncio

import pytest

from sessions_kms.concurrency.steps import arun, run

DRIVERS = pytest.mark.parametrize(
    "drive", [run, lambda steps: asyncio.run(arun(steps))], ids=["thread", "loop"]
)
