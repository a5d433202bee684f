"""Requests cancelled in an async method: reads end, and writes are finished.

The table is the one in memory; what it holds in truth is opened past the engine.
"""

import asyncio
import gc
import logging
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline, waits
from sessions_kms.concurrency.finishing import Finisher
from sessions_kms.concurrency.waits import Pause, Wait
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.session import mixins, next_cookie
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support import stories
from tests.sessions_kms.support.stacks import install
from tests.sessions_kms.support.stepping import with_waits
from tests.sessions_kms.support.wire import FAULTS, Wire

ASKED: dict[type[stories.Story], str] = {
    stories.Loads: "aload",
    stories.Creates: "asave",
    stories.Saves: "asave",
    stories.SavesOverAnother: "asave",
    stories.SavesWithoutALook: "asave",
    stories.ChangesItsKey: "acycle_key",
    stories.ChangesItsKeyOverAnother: "acycle_key",
    stories.Ends: "adelete",
}
TOLD = "A session write of a cancelled request failed"
READS = {"aload", "aexists", "aget"}
FATES = [
    "before",
    "meanwhile",
    *("lost", "unreachable", "unconnected", "truncated", "delayed_by_a_call"),
]


@dataclass
class Leaving:
    """The requester leaves in the wait of a number.

    The ``fate`` of the call that it waits for: done before, or meanwhile, or struck by a fault.
    """

    at: int
    fate: str
    wire: Wire
    requester: "asyncio.Task[Any] | None" = None
    waits: int = 0
    has_left: bool = False

    def watched(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Return it with the wait of this number as it is told."""

        def replace(_: int, wait: Wait) -> Wait:
            self.waits += 1  # of all that are watched
            return Left(wait, self) if self.waits == self.at + 1 else wait

        return with_waits(coroutine, replace)

    def watch_writes(self, patch: pytest.MonkeyPatch) -> None:
        finish = Finisher.finish

        async def watch(finisher: Finisher, work: Coroutine[Any, Any, Any], *more: Any) -> Any:
            return await finish(finisher, self.watched(work), *more)

        patch.setattr(Finisher, "finish", watch)

    async def leave(self) -> None:
        assert self.requester is not None
        self.has_left = True
        self.requester.cancel()
        for _ in range(5):
            await asyncio.sleep(0)


@dataclass(frozen=True)
class Left(Wait):
    """That wait."""

    wait: Wait
    leaving: Leaving

    async def suspend(self) -> Any:
        leaving = self.leaving
        if leaving.fate == "before":
            try:
                return await self.wait.suspend()
            finally:
                await leaving.leave()
        await leaving.leave()
        if leaving.fate in FAULTS:
            leaving.wire.strike(0, FAULTS[leaving.fate])
        return await self.wait.suspend()


async def leave_at(
    story: stories.Story,
    leaving: Leaving,
    monkeypatch: pytest.MonkeyPatch,
    told: pytest.LogCaptureFixture,
) -> bool:
    """Ask, and leave; False when all ended before. Check what is left."""

    asked = ASKED[type(story)]
    with next_cookie.keys_of(stories.request_with_key(story.key)) as keys, deadline.request():
        await story.prepare()
        with monkeypatch.context() as patch:
            leaving.watch_writes(patch)
            request = getattr(story.session, asked)()
            request = leaving.watched(request) if asked in READS else request
            leaving.requester = asyncio.ensure_future(request)
            await asyncio.wait([leaving.requester])
            gc.collect()  # The loop alone would not hold what goes on.
            await stories.wait_until_true(lambda: not mixins._writes)
        assert leaving.requester.cancelled() is leaving.has_left
        assert len(story.world.processes[0].write_queues) == 0
        assert waits._held.get() == ()
    stands = story.world.truth(str(story.key))
    found = None if stands is None else stands.content
    assert found in list(story.may_stand())
    if isinstance(story, stories.ChangesItsKey) and found is None:
        assert keys.changed is not None
        story.key = keys.changed.new_key
        moved = story.world.truth(story.key)
        found = None if moved is None else moved.content
        assert found == stories.NEW | story.theirs | {"mine": 1}, "the session is lost"
    story.world.wire.heal()
    if leaving.has_left and asked not in READS:
        assert is_finished(story, found) or (leaving.fate in FAULTS and TOLD in told.text)
    await stories.check_next_request(story, found)
    return leaving.has_left


def is_finished(story: stories.Story, found: Any) -> bool:
    """Return True if what was asked for is stored."""
    if isinstance(story, stories.Creates):
        stands = story.world.truth(str(story.session.session_key))
        return stands is not None and stands.content == stories.NEW
    if isinstance(story, stories.Ends):
        return found is None
    return "mine" in found


@pytest.mark.slow
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("story", ASKED, ids=lambda story: story.__name__)
async def test_request_cancelled_at_any_wait_leaves_a_valid_session(
    story: type[stories.Story],
    fate: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gc.collect()
    gc.freeze()  # Each of the collections below examines only what came after this.
    for at in count():
        caplog.clear()
        world = World(1)
        install(world.processes[0])
        if not await leave_at(story(world), Leaving(at, fate, world.wire), monkeypatch, caplog):
            break
    assert at, "nothing was waited for"


@pytest.fixture
def world() -> World:
    made = World(1)
    install(made.processes[0])
    return made


async def change_session(key: str, **changes: Any) -> SessionStore:
    session = SessionStore(key)
    await session.aupdate(changes)
    return session


@pytest.mark.parametrize("asked", ["acreate", "asave", "acycle_key", "adelete"])
async def test_write_that_had_not_begun_never_does(world: World, asked: str) -> None:
    session = await change_session(stories.save_content(a=1), b=2)
    world.wire.calls.clear()
    task = asyncio.ensure_future(getattr(session, asked)())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not mixins._writes
    assert world.wire.calls == []


async def test_failed_write_of_a_cancelled_request_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = await change_session(stories.save_content(a=1), b=2)
    await SessionStore(session.session_key).adelete()
    leaving = Leaving(0, "meanwhile", world.wire)
    leaving.watch_writes(monkeypatch)
    with caplog.at_level(logging.ERROR, "sessions_kms"):
        leaving.requester = asyncio.ensure_future(session.asave())
        await asyncio.wait([leaving.requester])
        await stories.wait_until_true(lambda: not mixins._writes)
        await asyncio.sleep(0)
    assert leaving.requester.cancelled()
    told = [each for each in caplog.records if each.name == "sessions_kms"]
    assert [each.getMessage() for each in told] == [f"{TOLD}: UpdateError"]
    assert told[0].exc_info is None
    assert str(session.session_key) not in caplog.text


async def test_writes_of_one_process_are_bounded_and_more_begin_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixins._writes, "_maximum", 2)
    sessions = [await change_session(stories.save_content(a=1), b=each) for each in range(3)]
    keys = [str(session.session_key) for session in sessions]
    told = await asyncio.wait_for(
        asyncio.gather(*(session.asave() for session in sessions), return_exceptions=True),
        stories.WITHIN,
    )
    assert [type(each) for each in told] == [type(None), type(None), StoreUnavailable]
    stand = [world.truth(key) for key in keys]
    assert [each and each.content.get("b") for each in stand] == [0, 1, None]
    await sessions[2].asave()  # There is room again.
    assert world.truth(keys[2]).content == {"a": 1, "b": 2}  # type: ignore[union-attr]


async def test_cancelled_load_does_not_affect_other_waiters(world: World) -> None:
    session = SessionStore(stories.save_content(a=1))
    first, second = (asyncio.ensure_future(session.aget("a")) for _ in range(2))
    await stories.wait_until_true(lambda: len(session._loading_lock._waiting) == 1)
    first.cancel()
    assert await asyncio.wait_for(second, stories.WITHIN) == 1
    assert first.cancelled()


@pytest.mark.parametrize("is_read", ["before it ends", "afterwards"])
async def test_session_ended_during_a_load_is_not_restored(world: World, is_read: str) -> None:
    session = SessionStore(stories.save_content(a=1))
    read, may = threading.Event(), threading.Event()

    def hold(handle: Handle) -> Any:
        response = handle() if is_read == "before it ends" else None
        read.set()
        assert may.wait(stories.WITHIN)
        return response or handle()

    world.table.on("GetItem session", hold)
    load = asyncio.ensure_future(session.aget("a"))
    assert await asyncio.to_thread(read.wait, stories.WITHIN)
    world.table.heal()
    await asyncio.wait_for(session.aflush(), stories.WITHIN)
    await session.aset("anew", 1)
    await asyncio.wait_for(session.asave(), stories.WITHIN)
    key = session.session_key
    may.set()
    assert await asyncio.wait_for(load, stories.WITHIN) is None
    await session.aset("later", 1)
    await session.asave()
    assert session.session_key == key
    assert world.truth(str(key)).content == {"anew": 1, "later": 1}  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [UpdateError, SessionMoved])
async def test_error_of_a_write_is_raised_in_a_request_that_was_not_cancelled(
    world: World, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await change_session(stories.save_content(a=1), b=2)

    async def failing(*_: Any) -> None:
        await Pause(0)
        raise error

    monkeypatch.setattr(session, "_update", failing)
    with pytest.raises(error):
        await session.asave()
