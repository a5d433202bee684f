"""Counts which way requests took through Django, and the signals that were sent of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.core.signals import got_request_exception, request_finished, request_started

from gateway_site.forwarding.passage import Passage

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


def _counted(name: str, method: Callable[[Passage], Any]) -> Callable[[Passage], Any]:
    def counted(passage: Passage) -> Any:
        response = method(passage)
        took[name] += 1  # not where it was left
        return response

    return counted


def _counting(what: str) -> Callable[..., None]:
    def counted(**_: Any) -> None:
        took[what] += 1

    RECEIVERS.append(counted)
    return counted
