"""Work in an event loop that is finished although its caller has left."""

import asyncio
import gc
import weakref
from dataclasses import dataclass, field

import pytest

from sessions_kms.concurrency import finishing
from sessions_kms.concurrency.finishing import Finisher
from sessions_kms.concurrency.waits import Pause, Wait
from tests.sessions_kms.support.quiet import shown_frames

WITHIN = 20  # seconds, after which something counts as hung


class Busy(Exception):
    """Too much is under way."""


@dataclass
class Door(Wait):
    """Something that is waited for, once it is opened."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def suspend(self) -> None:
        await self.opened.wait()


async def through(door: Door, done: list[str], error: Exception | None = None) -> str:
    done.append("begun")
    try:
        await door
        if error:
            raise error
        await Pause(0)
        done.append("done")
    finally:
        done.append("ended")
    return "result"


async def raise_error() -> str:
    await Pause(0)
    raise Busy


class Observed(Finisher):
    """``left`` are the errors of work whose caller has left."""

    def __init__(self) -> None:
        self.left: list[BaseException] = []
        super().__init__(2, on_error=self.left.append, busy=Busy)


@pytest.fixture
def finisher() -> Observed:
    return Observed()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end_and_wait(finisher: Finisher) -> None:
    async with asyncio.timeout(WITHIN):
        while finisher:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def test_waiting_caller_gets_result_or_error(finisher: Observed) -> None:
    door = Door()
    door.opened.set()
    assert await finisher.finish(through(door, [])) == "result"
    with pytest.raises(KeyError):
        await finisher.finish(through(door, [], KeyError("told by a test")))
    await turns()
    assert finisher.left == []
    assert len(finisher) == 0


def test_frames_of_finishing_are_hidden(finisher: Finisher) -> None:
    """Their variables include the work, whose arguments may be secret."""

    async def fail() -> None:
        raise TypeError

    assert shown_frames(lambda: asyncio.run(finisher.finish(fail())), finishing) == set()


async def test_error_and_its_frames_are_freed_without_the_collector(finisher: Finisher) -> None:
    gc.disable()
    try:
        try:
            await finisher.finish(raise_error())
        except Busy as error:
            found = weakref.ref(error)
        await turns()
        assert found() is None
    finally:
        gc.enable()


async def test_work_of_a_caller_who_left_is_finished(finisher: Observed) -> None:
    door, done = Door(), list[str]()
    caller = asyncio.ensure_future(finisher.finish(through(door, done)))
    await turns()
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    gc.collect()
    door.opened.set()
    await end_and_wait(finisher)
    assert done == ["begun", "done", "ended"]
    assert finisher.left == []


async def test_failure_of_work_whose_caller_left_is_logged(finisher: Observed) -> None:
    door, error = Door(), KeyError("told by a test")
    caller = asyncio.ensure_future(finisher.finish(through(door, [], error)))
    await turns()
    caller.cancel()
    await turns()
    door.opened.set()
    await end_and_wait(finisher)
    await turns()
    assert finisher.left == [error]


async def test_work_not_yet_started_is_dropped_if_its_caller_leaves(finisher: Observed) -> None:
    door, done = Door(), list[str]()
    caller = asyncio.ensure_future(finisher.finish(through(door, done), lambda: False))
    await turns()
    caller.cancel()
    await end_and_wait(finisher)
    assert done == ["begun", "ended"]
    assert finisher.left == []


async def test_more_than_may_be_under_way_is_not_begun(finisher: Finisher) -> None:
    door, done = Door(), list[str]()
    callers = [asyncio.ensure_future(finisher.finish(through(door, done))) for _ in range(2)]
    await turns()
    callers[0].cancel()  # Work that continues without its caller counts, too.
    await turns()
    with pytest.raises(Busy):
        await finisher.finish(through(door, done))
    assert done == ["begun", "begun"]
    door.opened.set()
    await end_and_wait(finisher)
    assert await finisher.finish(through(door, done)) == "result"


def test_end_of_the_loop_ends_it_where_it_waits(finisher: Observed) -> None:
    done: list[str] = []

    async def leave() -> None:
        caller = asyncio.ensure_future(finisher.finish(through(Door(), done)))
        await turns()
        caller.cancel()
        await turns()

    asyncio.run(leave())
    assert done == ["begun", "ended"]
    assert finisher.left == []
    assert len(finisher) == 0


def test_closed_event_loop_holds_no_connection(finisher: Finisher) -> None:
    """Whoever closes one by hand may leave its tasks as they are: their turns are others' then."""
    done: list[str] = []

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(finisher.finish(through(Door(), done))))
        await turns()

    tasks: list[asyncio.Future[str]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    tasks.clear()
    opened = Door()
    opened.opened.set()
    assert asyncio.run(finisher.finish(through(opened, []))) == "result"
    gc.collect()
    assert len(finisher) == 0
    assert done == ["begun", "ended"]


async def test_forked_child_has_nothing_under_way(finisher: Finisher) -> None:
    door = Door()
    caller = asyncio.ensure_future(finisher.finish(through(door, [])))
    await turns()
    assert len(finisher) == 1
    finishing._forget_after_fork()
    assert len(finisher) == 0
    door.opened.set()
    await caller
