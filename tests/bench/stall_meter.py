"""Measures stalls of an event loop in CPU time, so that a busy machine does not matter.

Two figures: the longest callback of the loop, in CPU time of its thread; and the maximum CPU time
of the whole process between two ticks of the loop, which includes other threads that hold the
interpreter. It works with asyncio's own loops.
"""

from __future__ import annotations

import asyncio
import json
import time
from asyncio import events
from typing import Any

BEAT = 0.001  # seconds
ADDRESS = "/_stalls"  # returns both figures since the last request


class StallMeter:
    """Measures the loop of an ASGI application."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._callback = 0.0
        self._between_beats = 0.0
        self._last: float | None = None
        self._run: Any = vars(events.Handle)["_run"]
        self._install()

    def _install(self) -> None:
        """Time each callback of the loop."""

        def run_timed(handle: Any) -> None:
            began = time.thread_time()
            self._run(handle)
            self._callback = max(self._callback, time.thread_time() - began)

        setattr(events.Handle, "_run", run_timed)  # noqa: B010 - mypy wants no assignment to a method

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._last is None:
            self._beat()
        if scope["type"] == "http" and scope["path"] == ADDRESS:
            await self._report(send)
        else:
            await self._application(scope, receive, send)

    async def _report(self, send: Any) -> None:
        body = json.dumps([self._callback, self._between_beats]).encode()
        self._callback = self._between_beats = 0.0
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _beat(self) -> None:
        now = time.process_time()
        if self._last is not None:
            self._between_beats = max(self._between_beats, now - self._last)
        self._last = now
        asyncio.get_running_loop().call_later(BEAT, self._beat)
