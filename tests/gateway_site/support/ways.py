"""Counts which way requests took through Django, the signals that were sent of them, and what
the event loop's thread waited for the table for, which holds up all others: nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.core.signals import got_request_exception, request_finished, request_started

from gateway_site.forwarding.passage import Passage
from sessions_kms.aws.client.asking import BotoAsks

took: Counter[str] = Counter()
RECEIVERS: list[Callable[..., None]] = []  # which signals hold weakly


def count() -> None:
    for name in ("in_loop", "in_thread"):
        setattr(Passage, name, _counted(name, getattr(Passage, name)))
    for signal, what in {
        request_started: "started",
        request_finished: "finished",
        got_request_exception: "failed",
    }.items():
        signal.connect(_counting(what))
    setattr(BotoAsks, "blocking", _noting_loops(BotoAsks.blocking))  # noqa: B010 - for mypy it is a method


def _counted(name: str, method: Callable[[Passage], Any]) -> Callable[[Passage], Any]:
    def counted(passage: Passage) -> Any:
        response = method(passage)
        took[name] += 1  # not where it was left
        return response

    return counted


def _noting_loops(ask: Callable[[BotoAsks], Any]) -> Callable[[BotoAsks], Any]:
    def noting(asked: BotoAsks) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return ask(asked)
        took["waited in the loop"] += 1
        return ask(asked)

    return noting


def _counting(what: str) -> Callable[..., None]:
    def counted(**_: Any) -> None:
        took[what] += 1

    RECEIVERS.append(counted)
    return counted
