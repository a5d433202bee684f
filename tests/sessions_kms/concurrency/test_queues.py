"""Work that waited for its turn longer than its request may wait is not begun."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sessions_kms import backend
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline, waits
from sessions_kms.concurrency.threads import executor
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock


@pytest.fixture
def steady(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    # The services exist then, so that no call for them comes first.
    backend._prepare()
    SessionStore("k" * 32).exists("k" * 32)
    fake.dynamodb.calls.clear()
    steady = FakeClock(0.0)
    monkeypatch.setattr(waits, "monotonic", steady)
    monkeypatch.setattr(deadline, "monotonic", steady)
    return steady


@pytest.fixture
def all_busy() -> Iterator[threading.Event]:
    """Keep every thread that makes the engine's calls busy until the event is set."""
    free = threading.Event()
    threads = executor("sessions_kms-calls", waits.CALLS)
    jobs = [threads.submit(free.wait) for _ in range(waits.CALLS)]
    yield free
    free.set()
    for job in jobs:
        job.result()


def calls(stack: Stack) -> list[str]:
    return stack.dynamodb.calls


@pytest.mark.parametrize("in_request", [True, False])
@pytest.mark.parametrize("waited", [2.5, 3.0])
async def test_load_starts_unless_it_is_too_late(
    fake: Stack,
    steady: FakeClock,
    all_busy: threading.Event,
    in_request: bool,
    waited: float,
) -> None:
    is_late = waited >= deadline.HASTY.call

    async def load() -> bool:
        session = SessionStore("k" * 32)
        try:
            await session.aload()
        except StoreUnavailable:
            assert session.session_key == "k" * 32  # Nobody is signed out.
            return True
        return False

    async def visit() -> bool:
        if not in_request:
            return await load()
        with deadline.request():
            return await load()

    visits = [asyncio.create_task(visit()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    steady.advance(waited)
    all_busy.set()
    assert await asyncio.gather(*visits) == [is_late] * 20
    assert calls(fake).count("GetItem session") == (0 if is_late else 20)


async def test_next_wait_of_the_request_has_the_time_left_by_the_queue(
    steady: FakeClock, all_busy: threading.Event
) -> None:
    with deadline.request():
        load = asyncio.create_task(SessionStore("k" * 32).aload())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        steady.advance(2)
        all_busy.set()
        await load
        left = deadline.budget_left()
    assert left is not None
    assert left == deadline.REQUEST - 2
