"""Counts how requests ran through Django, the signals that they sent, and what delays all other
requests: the engine's blocking waits and rendered templates in the event loop's thread.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.signals import got_request_exception, request_finished, request_started
from django.template import Template

from gateway_site.forwarding.calls.caller import ActiveUsers
from gateway_site.forwarding.pages.pages import MiddlewareRun
from sessions_kms.aws.table_client import BotoRequest
from sessions_kms.concurrency.waits import BlockingCall, Pause
from tests.gateway_site.support.example_requests import RENDERED_IN_LOOP

took: Counter[str] = Counter()
WAITS: tuple[Any, ...] = (BotoRequest, BlockingCall, Pause)
RECEIVERS: list[Callable[..., None]] = []  # signals have only weak references to them


def count() -> None:
    for kind, name, counted in (
        (MiddlewareRun, "run_in_thread", "in_thread"),
        (ActiveUsers, "_query", "queried"),
    ):
        setattr(kind, name, _count_calls(counted, getattr(kind, name)))
    for signal, what in {
        request_started: "started",
        request_finished: "finished",
        got_request_exception: "failed",
    }.items():
        signal.connect(_counter(what))
    for kind in WAITS:
        kind.block = _noting_loops(kind.block, "waited in the loop")
    rendering: Any = Template
    rendering.render = _noting_loops(Template.render, RENDERED_IN_LOOP)


def _count_calls(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def count(*args: Any) -> Any:
        response = method(*args)
        took[name] += 1  # only if it was completed
        return response

    return count


def _noting_loops(blocking: Callable[..., Any], name: str) -> Callable[..., Any]:
    def noting(*args: Any) -> Any:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            took[name] += 1
        return blocking(*args)

    return noting


def _counter(what: str) -> Callable[..., None]:
    def count(**_: Any) -> None:
        took[what] += 1

    RECEIVERS.append(count)
    return count
