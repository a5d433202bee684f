"""A middleware's steps, under Django's threads and under its event loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction

from sessions_kms.concurrency.sync_and_async import CallInDjangosThread, SyncAndAsyncMiddleware
from sessions_kms.concurrency.waits import run_sync


class Around(SyncAndAsyncMiddleware):
    """Adds what it did before and after, and in which thread its call was made."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.thread: threading.Thread | None = None

    async def process(self, request: list[str]) -> list[str]:
        request.append("before")
        response: list[str] = await self.await_response(request)
        self.thread = await CallInDjangosThread(threading.current_thread)
        return [*response, "after"]


def test_steps_surround_a_view_in_a_thread() -> None:
    middleware = Around(lambda request: [*request, "view"])
    assert not iscoroutinefunction(middleware)
    assert middleware([]) == ["before", "view", "after"]
    assert middleware.thread is threading.current_thread()


def test_steps_surround_a_view_in_the_event_loop_and_call_in_the_thread_of_the_request() -> None:
    async def view(request: list[str]) -> list[str]:
        return [*request, "view"]

    middleware: Any = Around(view)
    assert iscoroutinefunction(middleware)
    assert async_to_sync(middleware)([]) == ["before", "view", "after"]
    assert middleware.thread is threading.current_thread()


@pytest.mark.parametrize("run", [run_sync, asyncio.run])
def test_call_gets_its_arguments(run: Callable[[Any], Any]) -> None:
    async def call() -> Any:
        return await CallInDjangosThread(sorted, ([3, 1, 2],))

    assert run(call()) == [1, 2, 3]
