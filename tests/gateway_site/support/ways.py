"""Counts how requests ran through Django, the signals that they sent, and the engine's blocking
waits in the event loop's thread, which delay all other requests.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.signals import got_request_exception, request_finished, request_started

from gateway_site.forwarding.middleware_run import MiddlewareRun
from sessions_kms.aws.table_client import BotoRequest
from sessions_kms.concurrency.waits import BlockingCall, Pause

took: Counter[str] = Counter()
WAITS: tuple[Any, ...] = (BotoRequest, BlockingCall, Pause)
RECEIVERS: list[Callable[..., None]] = []  # signals have only weak references to them


def count() -> None:
    for name in ("in_loop", "in_thread"):
        method = f"run_{name}"
        setattr(MiddlewareRun, method, _counted(name, getattr(MiddlewareRun, method)))
    for signal, what in {
        request_started: "started",
        request_finished: "finished",
        got_request_exception: "failed",
    }.items():
        signal.connect(_counting(what))
    for kind in WAITS:
        kind.block = _noting_loops(kind.block)


def _counted(name: str, method: Callable[[MiddlewareRun], Any]) -> Callable[[MiddlewareRun], Any]:
    def counted(run: MiddlewareRun) -> Any:
        response = method(run)
        took[name] += 1  # only if it was completed
        return response

    return counted


def _noting_loops(wait: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def noting(waited_for: Any) -> Any:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            took["waited in the loop"] += 1
        return wait(waited_for)

    return noting


def _counting(what: str) -> Callable[..., None]:
    def counted(**_: Any) -> None:
        took[what] += 1

    RECEIVERS.append(counted)
    return counted
