"""64 writers of one session in four processes: no change is lost, and writes are shared."""

from collections.abc import Iterator

import pytest

from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.contention import contend, expected_content
from tests.sessions_kms.support.real_workers import (
    make_real_time_stack,
    read_now,
    running_workers,
    save_now,
)
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.worker import Worker
from tests.support.clock import FakeClock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.timeout(120),
]
PROCESSES, WRITERS = 4, 16


@pytest.fixture(name="stack")
def real_stack(make_stack: MakeStack, clock: FakeClock) -> Stack:
    return make_real_time_stack(make_stack, clock)


@pytest.fixture(
    params=[
        pytest.param(0.005, id="5 ms"),
        pytest.param(0.05, id="50 ms", marks=pytest.mark.long),
    ]
)
def processes(request: pytest.FixtureRequest, stack: Stack) -> Iterator[list[Worker]]:
    with running_workers(stack, PROCESSES) as running:
        for process in running:
            process.ask("be_slow", seconds=request.param)
        yield running


@pytest.mark.parametrize("saves", [1, pytest.param(10, marks=pytest.mark.long)])
def test_64_writers_in_4_processes_lose_nothing_and_are_refused_nothing(
    stack: Stack, processes: list[Worker], saves: int
) -> None:
    key = save_now(stack)
    found = contend(processes, key, writers=WRITERS, saves=saves, alone=1)
    assert found.told == [None] * PROCESSES * WRITERS * saves
    assert read_now(stack, key) == expected_content(PROCESSES, writers=WRITERS, saves=saves)
    assert found.writes <= PROCESSES * WRITERS * saves
