"""The engine's steps in an event loop: awaited, shared, and cancelled at each of them.

The table is the one in memory; what it holds in truth is opened past the engine.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline, waits
from sessions_kms.concurrency.waits import CoroutineLock, Wait, run_sync
from sessions_kms.concurrency.write_queue import WriteQueue
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.session import next_cookie
from sessions_kms.signals import session_refused
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support import stories
from tests.sessions_kms.support.stacks import install
from tests.sessions_kms.support.stepping import with_waits
from tests.support.signals import connect_receiver

T = TypeVar("T")


@pytest.fixture
def world() -> World:
    made = World(1)
    install(made.processes[0])
    return made


# Cancelled at any step


@dataclass
class Cut(Wait):
    """A wait in which the task is cancelled; what it waits for is done before, later or never."""

    wait: Wait
    done: str
    late: list[Wait] = field(default_factory=list)

    async def suspend(self) -> Any:
        if self.done == "before":
            with suppress(ClientError):  # Nobody gets the response.
                await self.wait.suspend()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    def finish(self) -> None:
        """Do what is still on its way."""
        if self.done == "later":
            with suppress(ClientError):
                self.wait.block()


def cut(
    coroutine: Coroutine[Any, Any, T], at: int, done: str, cuts: list[Cut]
) -> Coroutine[Any, Any, T]:
    """Return it with its task cancelled in the wait of this number."""

    def replace(number: int, wait: Wait) -> Wait:
        if number == at:
            cuts.append(Cut(wait, done))
        return cuts[0] if number == at else wait

    return with_waits(coroutine, replace)


STORIES = [
    stories.Loads,
    stories.Creates,
    stories.Saves,
    stories.SavesOverAnother,
    stories.SavesWithoutALook,
    stories.ChangesItsKey,
    stories.ChangesItsKeyOverAnother,
    stories.Ends,
]


async def is_cut(story: stories.Story, at: int, done: str) -> bool:
    """Do a story, cancelled at a step; False when it ended before. Check what is left."""
    cuts: list[Cut] = []
    with next_cookie.keys_of(stories.request_with_key(story.key)) as keys, deadline.request():
        await story.prepare()
        task = asyncio.ensure_future(cut(story.steps(), at, done, cuts))
        await asyncio.wait([task])
        assert task.cancelled() is bool(cuts)
        if not cuts:
            await task
        assert len(story.world.processes[0].write_queues) == 0
        assert waits._held.get() == ()
        for each in cuts:
            story.check()
            await asyncio.to_thread(each.finish)
    stands = story.world.truth(str(story.key))
    found = None if stands is None else stands.content
    assert found in list(story.may_stand()), (at, done)
    if found is None and isinstance(story, stories.ChangesItsKey):
        moved = story.world.truth(keys.changed.new_key) if keys.changed else None
        assert moved is not None, "the session is lost"
        assert moved.content == stories.NEW | story.theirs | {"mine": 1}
        story.key = keys.changed.new_key if keys.changed else None
        found = moved.content
    await stories.check_next_request(story, found)
    return bool(cuts)


@pytest.mark.parametrize("done", ["before", "later", "never"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_operation_cancelled_at_any_step_leaves_a_valid_session_and_no_lock(
    story: type[stories.Story], done: str
) -> None:
    for at in count():
        world = World(1)
        install(world.processes[0])
        if not await is_cut(story(world), at, done):
            break
    assert at, "nothing was waited for"


# Shared


async def in_lanes(world: World) -> list[WriteQueue[Any]]:
    """Wait until somebody saves; return the lanes."""
    lanes = world.processes[0].write_queues
    await stories.wait_until_true(lambda: len(lanes) > 0)
    return list(lanes._queues.values())


async def test_tasks_that_save_one_session_share_writes(world: World) -> None:
    key = stories.save_content(a=1)
    requests = [await stories.open_session(key, **{f"key{each}": each}) for each in range(5)]
    world.wire.calls.clear()
    await asyncio.gather(*(request._save() for request in requests))
    stands = world.truth(key)
    assert stands is not None
    assert stands.content == {"a": 1, **{f"key{each}": each for each in range(5)}}
    assert world.wire.calls.count("PutItem") == 2
    assert len(world.processes[0].write_queues) == 0


@pytest.mark.parametrize("who", [0, 1])
async def test_others_write_when_one_of_them_is_cancelled(world: World, who: int) -> None:
    key = stories.save_content(a=1)
    requests = [await stories.open_session(key, **{f"key{each}": each}) for each in range(3)]
    tasks = [asyncio.ensure_future(request._save()) for request in requests]
    (lane,) = await in_lanes(world)
    await stories.wait_until_true(lambda: len(lane.waiting()) == len(tasks))
    tasks[who].cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), stories.WITHIN)
    assert [type(each) for each in results].count(asyncio.CancelledError) == 1
    stands = world.truth(key)
    assert stands is not None
    kept = {f"key{each}": each for each in range(3) if each != who}
    assert stands.content | {f"key{who}": who} == {"a": 1, f"key{who}": who, **kept}
    assert len(world.processes[0].write_queues) == 0


async def test_threads_and_tasks_wait_in_one_lane(world: World) -> None:
    key = stories.save_content(a=1)
    requests = [await stories.open_session(key, **{f"key{each}": each}) for each in range(6)]
    threads = [threading.Thread(target=run_sync, args=(each._save(),)) for each in requests[::2]]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(
        asyncio.gather(*(each._save() for each in requests[1::2])), stories.WITHIN
    )
    for thread in threads:
        await asyncio.to_thread(thread.join, stories.WITHIN)
    stands = world.truth(key)
    assert stands is not None
    assert stands.content == {"a": 1, **{f"key{each}": each for each in range(6)}}


async def test_tasks_of_one_request_share_one_load(world: World) -> None:
    session = SessionStore(stories.save_content(a=1))
    # The not-before moment is known from now on.
    await stories.open_session(str(session.session_key))
    world.wire.calls.clear()
    found = await asyncio.gather(*(session._get_content() for _ in range(5)))
    assert found == [{"a": 1}] * 5
    assert world.wire.calls.count("GetItem") == 1


async def test_load_that_uses_its_own_session_is_rejected(world: World) -> None:
    session = SessionStore(stories.save_content(a=1))
    item = world.table.items
    for each in item.values():
        if "authTag" in each:
            each["authTag"] = {"B": bytes(16)}
    asked: list[BaseException] = []

    def ask(**_: Any) -> None:
        try:
            run_sync(session._get_content())
        except StoreUnavailable as error:
            asked.append(error)

    with connect_receiver(session_refused, ask), deadline.request():
        await session._get_content()
    assert [str(each) for each in asked] == ["The session is used while it is being loaded."]


# The turn


async def take_turn(turn: CoroutineLock, results: list[str], name: str) -> None:
    await turn.acquire()
    results.append(name)
    turn.release()


async def test_lock_goes_to_the_longest_waiter_that_has_not_left() -> None:
    turn, results = CoroutineLock(), list[str]()
    await turn.acquire()
    others = []
    for name in ("first", "second", "third"):
        context = Context()
        others.append(asyncio.Task(take_turn(turn, results, name), context=context))
        await stories.wait_until_true(lambda: len(turn._waiting) == len(others))
    others[0].cancel()
    await asyncio.wait([others[0]])
    turn.release()
    await asyncio.wait_for(asyncio.gather(*others[1:]), stories.WITHIN)
    assert results == ["second", "third"]
    assert not turn.is_locked


async def test_turn_of_a_cancelled_waiter_is_passed_on() -> None:
    turn, results = CoroutineLock(), list[str]()
    await turn.acquire()
    context = Context()
    other = asyncio.Task(take_turn(turn, results, "other"), context=context)
    await stories.wait_until_true(lambda: len(turn._waiting) == 1)
    turn.release()  # It is woken, and has not run yet.
    other.cancel()
    await asyncio.wait([other])
    await asyncio.wait_for(take_turn(turn, results, "next"), stories.WITHIN)
    assert results == ["next"]


def test_turn_is_waited_for_on_the_requests_account() -> None:
    turn = CoroutineLock()
    run_sync(turn.acquire())
    results: list[BaseException] = []

    def come() -> None:
        try:
            with deadline.request(2 * deadline.LEAST):
                run_sync(turn.acquire())
        except StoreUnavailable as error:
            results.append(error)

    thread = threading.Thread(target=come)
    thread.start()
    thread.join(stories.WITHIN)
    assert len(results) == 1
    turn.release()
    run_sync(turn.acquire())
    turn.release()
