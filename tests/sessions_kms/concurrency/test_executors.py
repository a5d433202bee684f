"""Pools of threads that are made at their first use."""

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from sessions_kms.concurrency import deadline, threads
from sessions_kms.concurrency.threads import (
    Background,
    BoundedPool,
    Refused,
    executor,
    in_djangos_thread,
    in_thread,
)
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.support.quiet import shown_frames
from tests.support.forking import in_child

WITHIN = 10  # seconds, after which a thread counts as hung
WAYS = pytest.mark.parametrize(
    "somewhere", [partial(in_thread, executor("executors-test", 1)), in_djangos_thread]
)
Somewhere = Callable[[Callable[[], Any]], Awaitable[Any]]

noted: ContextVar[str] = ContextVar("noted", default="")


async def test_work_of_one_name_shares_the_threads_of_one_pool() -> None:
    pool = executor("executors-test", 1)
    assert executor("executors-test", 1) is pool
    assert pool._max_workers == 1
    names = {(await in_thread(pool, threading.current_thread)).name for _ in range(3)}
    assert names == {"executors-test_0"}


@WAYS
async def test_task_sees_context_variables_set_by_its_work(somewhere: Somewhere) -> None:
    def fail() -> None:
        noted.set(noted.get() + " failed")
        raise LookupError

    await somewhere(lambda: noted.set("done"))
    with pytest.raises(LookupError):
        await somewhere(fail)
    assert noted.get() == "done failed"


@WAYS
async def test_cancelled_task_is_not_affected_by_its_continuing_work(somewhere: Somewhere) -> None:
    """The end of a call that is under way would be the end of all calls of this task to come."""
    began, go_on, ended = asyncio.Event(), threading.Event(), asyncio.Event()
    tell = asyncio.get_running_loop().call_soon_threadsafe

    def work() -> None:
        with deadline.call(deadline.HASTY.call):
            tell(began.set)
            go_on.wait(WITHIN)
        tell(ended.set)

    async def given_up() -> None:
        try:
            await somewhere(work)
        except asyncio.CancelledError:
            assert deadline.call_left() is None
            raise

    task = asyncio.create_task(given_up())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await ended.wait()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_has_threads_of_its_own() -> None:
    assert executor("executors-test", 1).submit(int, "1").result() == 1
    # The parent's threads are not in the child: work that is given to them is never done.
    assert in_child(lambda: executor("executors-test", 1).submit(int, "7").result()) == 7


class NeedsMore(Exception):
    """An error that cannot be copied by its arguments."""

    def __init__(self, one: int, *, other: int) -> None:
        super().__init__(one + other)


@pytest.mark.parametrize(
    "error",
    [OSError("away"), deadline.OutOfTime(), NeedsMore(1, other=2)],
    ids=["usual", "out of time", "odd"],
)
def test_callers_of_a_shared_call_get_errors_with_separate_frames(error: Exception) -> None:
    """The frames of one waiter may hold secrets, and would be in the error report of another."""
    pool: BoundedPool[int] = BoundedPool()
    begun, fail = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert fail.wait(WITHIN)
        raise error

    first = pool.begin("name", work)
    assert begun.wait(WITHIN)
    others = [pool.begin("name", work) for _ in range(3)]
    assert pool.busy() == 1
    fail.set()
    found = [each.exception(WITHIN) for each in (first, *others)]
    assert {(type(each), str(each)) for each in found} == {(type(error), str(error))}
    if isinstance(error, OSError):
        assert len({id(each) for each in found}) == 4
    for each in found:
        assert each is not None
        assert each.__traceback__ is None or each is error


def test_error_of_a_shared_call_references_no_waiter() -> None:
    """What remembers the error must not remember the frames of those whom it was raised in."""

    class Secret:
        pass

    pool: BoundedPool[int] = BoundedPool()
    remembered: list[Exception] = []

    def work() -> int:
        try:
            return fail()
        except OSError as exc:
            remembered.append(exc)
            raise

    def fail() -> int:
        raise OSError("away")

    def wait() -> "weakref.ref[Secret]":
        secret = Secret()
        with pytest.raises(OSError, match="away"):
            pool.wait("name", work, WITHIN)
        return weakref.ref(secret)

    waiter = wait()
    gc.collect()
    assert waiter() is None
    assert remembered


def test_thread_of_a_lookup_does_not_keep_the_process_alive() -> None:
    assert BoundedPool[bool]().wait("name", lambda: threading.current_thread().daemon, WITHIN)


@WAYS
def test_frames_with_the_arguments_of_work_are_hidden(somewhere: Somewhere) -> None:
    def fail() -> None:
        raise TypeError

    async def work() -> None:
        await somewhere(fail)

    assert shown_frames(lambda: asyncio.run(work()), threads) == set()


@pytest.mark.parametrize(
    "apart", [partial(in_thread, executor("executors-test", 1)), in_djangos_thread]
)
async def test_work_gets_its_arguments(apart: Callable[..., Awaitable[Any]]) -> None:
    assert await apart(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


# Jobs in the background


def test_one_job_runs_at_a_time_and_the_next_one_after_it() -> None:
    started: list[Callable[[], None]] = []
    done: list[str] = []
    background = Background(started.append)
    assert background.run(lambda: lambda: done.append("first"))
    assert background.run(lambda: pytest.fail("a job was looked for"))
    started.pop()()
    assert done == ["first"]
    assert background.run(lambda: None)
    assert background.run(lambda: unavailable)
    started.pop()()
    assert background.run(lambda: lambda: done.append("last"))
    started.pop()()
    assert done == ["first", "last"]


def unavailable() -> None:
    raise StoreUnavailable


def test_job_for_which_no_thread_can_be_started_is_tried_again() -> None:
    def fail(_: Callable[[], None]) -> None:
        raise RuntimeError

    background = Background(fail)
    looked: list[bool] = []

    def find() -> Callable[[], None]:
        looked.append(True)
        return lambda: None

    assert [background.run(find), background.run(find)] == [False, False]
    assert looked == [True, True]
    assert not Background(None).run(lambda: pytest.fail("a job was looked for"))


def test_lookup_for_which_no_thread_can_be_started_fails_and_blocks_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = BoundedPool[str]()
    joined: list[Future[str]] = []

    def fail(_: threading.Thread) -> None:
        joined.append(pool.begin("name", str))  # by another caller meanwhile
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            pool.begin("name", str)
    assert isinstance(joined[0].exception(WITHIN), Refused)
    assert pool.busy() == 0
    assert pool.wait("name", lambda: "result", WITHIN) == "result"
