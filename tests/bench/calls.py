"""Counts the calls that boto makes, by a hook of its own: what AWS would be paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sessions_kms.aws import clients

EVENTS = ("before-call.dynamodb", "before-call.kms")
TRANSACTION = "dynamodb.TransactWriteItems"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of clients that are made from now on, by operation.

    The parts of a transaction count as the puts and deletes that they are.
    """
    calls: Counter[str] = Counter()

    def count(model: Any, params: dict[str, Any], **_: Any) -> None:
        # That is a process's own, every 30 s, and no request's.
        own = b"not-before#" in _bytes(params["body"])
        calls[f"{model.name} (not-before)" if own else model.name] += 1

    def look_into(params: dict[str, Any], **_: Any) -> None:
        for item in params.get("TransactItems", []):
            calls["in transactions: " + next(iter(item))] += 1

    def complete(parsed: dict[str, Any], **_: Any) -> None:
        # roto leaves out what was asked for and AWS tells, and the engine then reads the
        # record once more to be sure that it was stored.
        parsed.setdefault("ConsumedCapacity", [])

    events = clients._session().get_component("event_emitter")
    for event in EVENTS:
        events.register(event, count)
    events.register(f"provide-client-params.{TRANSACTION}", look_into)
    events.register(f"after-call.{TRANSACTION}", complete)
    try:
        yield calls
    finally:
        clients.reset()


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def puts(calls: Counter[str]) -> int:
    return calls["PutItem"] + calls["in transactions: Put"]


def lone_puts(calls: Counter[str]) -> int:
    return calls["PutItem"]


def transactions(calls: Counter[str]) -> int:
    return calls["TransactWriteItems"]


def writes(calls: Counter[str]) -> int:
    named = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems")
    return sum(calls[name] for name in named)


def deletes(calls: Counter[str]) -> int:
    return calls["DeleteItem"] + calls["in transactions: Delete"]


def reads(calls: Counter[str]) -> int:
    return calls["GetItem"] + calls["Query"] + calls["Scan"]
