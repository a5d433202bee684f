"""A call that takes longer is watched; one that does not begins no task."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from gateway_site.edge.client import ClientGone
from gateway_site.forwarding.calls import watch as call_watch
from gateway_site.forwarding.calls.watch import (
    WATCH_DELAY,
    SessionEnded,
    WatchedBlock,
    user_changes,
    watch_session,
)
from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

NEVER = 3600.0  # seconds
WHO: ContextVar[str] = ContextVar("who")


class Watching:
    """A watcher that records its end, and raises the given error."""

    def __init__(self, raised: Exception | None = None) -> None:
        self.raised = raised
        self.begun = asyncio.Event()
        self.was_cancelled = False

    async def __call__(self) -> None:
        self.begun.set()
        if self.raised is not None:
            raise self.raised
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin to watch as soon as a call waits."""
    monkeypatch.setattr(call_watch, "WATCH_DELAY", 0)


async def test_short_call_has_no_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_watch, "WATCH_DELAY", NEVER)
    watcher, before = Watching(), asyncio.all_tasks()
    with WatchedBlock(watcher):
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
    assert not watcher.begun.is_set()


def test_disconnect_is_noticed_within_a_quarter_of_a_second() -> None:
    assert WATCH_DELAY <= 0.25


@pytest.mark.usefixtures("at_once")
async def test_watchers_end_with_the_call() -> None:
    watcher = Watching()
    with WatchedBlock(watcher):
        await watcher.begun.wait()
    await until(lambda: watcher.was_cancelled)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("raised", [ClientGone(), SessionEnded(), LookupError()], ids=repr)
async def test_what_a_watcher_raises_ends_the_call_and_the_other_watcher(
    raised: Exception,
) -> None:
    other, call = Watching(), Watching()

    async def calling() -> None:
        with WatchedBlock(other, Watching(raised)):
            await call()

    with pytest.raises(type(raised)):
        await calling()
    await until(lambda: other.was_cancelled)
    assert call.was_cancelled
    await asyncio.sleep(0)  # where a cancellation that is left over would come
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.usefixtures("at_once")
async def test_watcher_does_not_begin_after_the_call() -> None:
    watcher = Watching()
    with WatchedBlock(watcher):
        pass
    for _ in range(10):
        await asyncio.sleep(0)
    assert not watcher.begun.is_set()


@pytest.mark.usefixtures("at_once")
async def test_late_watcher_does_nothing() -> None:
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    watcher = Watching(ClientGone())
    with WatchedBlock(watcher):
        while not watcher.begun.is_set():  # noqa: ASYNC110 - the call ends in the same turn
            await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not wrong


@pytest.mark.usefixtures("at_once")
async def test_cancelled_call_stays_cancelled_and_ends_its_watchers() -> None:
    watcher = Watching()

    async def calling() -> None:
        with WatchedBlock(watcher):
            await asyncio.Future()

    task = asyncio.create_task(calling())
    await watcher.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: watcher.was_cancelled)


async def test_failing_call_raises_its_own() -> None:
    with pytest.raises(TimeoutError, match="of the call"), WatchedBlock(Watching()):
        raise TimeoutError("of the call")


@pytest.mark.parametrize("is_told", [True, False], ids=["of the person", "of nobody"])
async def test_earlier_change_of_a_user_is_checked_by_a_new_watch(
    clock: FakeClock, is_told: bool
) -> None:
    """The session does not exist: a check finds that immediately, the timer only after an hour."""
    install(fake_stack(clock).services)
    session = SessionStore("a" * 32)
    caller = watch_session(session, "1")
    if is_told:
        user_changes.notify("1")
    task = asyncio.create_task(caller.watch(NEVER))
    if is_told:
        with pytest.raises(SessionEnded):
            await task
    else:
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - no event tells that a task has ended
            await asyncio.sleep(0)


async def test_all_calls_of_a_loop_have_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []

    def noting(at: float, call: Callable[..., None], *args: object, **more: Any) -> object:
        timers.append(at)
        return call_at(at, call, *args, **more)

    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", noting)
    for _ in range(20):
        with WatchedBlock(Watching()), WatchedBlock(Watching()):
            pass
    assert len(timers) == 1


@pytest.fixture
async def advance(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Awaitable[None]]:
    """Return what puts the loop's clock forward, and has done what is due then."""
    loop, ahead = asyncio.get_running_loop(), 0.0
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + ahead)
    monkeypatch.setattr(call_watch, "WATCH_DELAY", NEVER)

    async def advance_first(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)

    return advance_first


async def test_those_that_take_longer_are_watched_each_in_its_time(
    advance: Callable[[float], Awaitable[None]],
) -> None:
    first, over, last = Watching(), Watching(), Watching()
    with WatchedBlock(first):
        with WatchedBlock(over):
            await advance(NEVER / 2)
        with WatchedBlock(last):
            await advance(NEVER / 2)
            assert first.begun.is_set()
            assert not last.begun.is_set()
            await advance(NEVER / 2)
            assert last.begun.is_set()
    assert not over.begun.is_set()


async def test_each_call_is_watched_in_its_own_context(
    advance: Callable[[float], Awaitable[None]],
) -> None:
    """The log names the right request, although another call started the check."""
    found: list[str] = []
    over = asyncio.Event()

    async def calling(who: str) -> None:
        WHO.set(who)

        async def watcher() -> None:
            found.append(WHO.get())

        with WatchedBlock(watcher):
            if who != "soon over":
                await over.wait()

    calls = asyncio.gather(*map(calling, ("soon over", "one", "other")))
    await advance(NEVER / 2)
    await advance(NEVER)
    over.set()
    await calls
    assert found == ["one", "other"]


@pytest.mark.usefixtures("at_once")
async def test_ended_call_leaves_no_reference_cycle() -> None:
    call = Watching()

    async def leaving() -> None:
        raise ClientGone

    async def calling(call: Watching) -> None:
        with WatchedBlock(leaving):
            await call()

    gone = weakref.ref(call)
    gc.disable()
    try:
        with suppress(ClientGone):
            await calling(call)
        del call
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
