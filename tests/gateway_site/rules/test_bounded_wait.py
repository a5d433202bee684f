"""A bounded wait returns the result of its work, and starts a timer only if it has to wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway_site.rules.bounded_wait import wait_bounded

NEVER = 3600.0  # seconds


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take down how long each bound is for which there is a timer."""
    made: list[float] = []
    timeout = asyncio.timeout

    def noting(seconds: float) -> asyncio.Timeout:
        made.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr(asyncio, "timeout", noting)
    return made


async def at_once() -> str:
    return "done"


async def later() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return "done"


def there() -> asyncio.Future[str]:
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    found.set_result("done")
    return found


def coming() -> asyncio.Future[str]:
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, found.set_result, "done")
    return found


@pytest.mark.parametrize(
    ("work", "waits"), [(at_once, False), (there, False), (later, True), (coming, True)]
)
async def test_result_is_returned_and_a_timer_made_only_for_a_wait(
    work: Callable[[], Awaitable[str]], waits: bool, timers: list[float]
) -> None:
    assert await wait_bounded(NEVER, work()) == "done"
    assert timers == [NEVER] * waits


@pytest.mark.parametrize("waits", [False, True])
async def test_error_is_raised(waits: bool) -> None:
    async def failing() -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await wait_bounded(NEVER, failing())


async def test_what_takes_too_long_is_cancelled_where_it_waits() -> None:
    cleaned: list[str] = []

    async def waiting() -> None:
        try:
            await asyncio.Future()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with pytest.raises(TimeoutError):
        await wait_bounded(0.01, waiting())
    assert cleaned == ["up"]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_cancellation_stays_one() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waiting() -> None:
        begun.set()
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(wait_bounded(NEVER, waiting()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
