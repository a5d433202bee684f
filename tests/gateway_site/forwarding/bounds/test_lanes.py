"""Work that a lane does apart sees the context of its task, its request's id say, and leaves it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from gateway_site.forwarding.bounds.lanes import Lane

said: ContextVar[str] = ContextVar("said", default="nothing")


def test_work_apart_sees_the_context_of_its_task_and_leaves_nothing_in_it() -> None:
    def work() -> str:
        before = said.get()
        said.set("by the work")
        return before

    async def task() -> tuple[str, str]:
        said.set("by the task")
        return await Lane("lane", 1).apart(work), said.get()

    assert asyncio.run(task()) == ("by the task", "by the task")
