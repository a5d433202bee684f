"""Counts the calls that are sent to AWS and would be billed.

Calls of the table are counted where the engine calls its client, so that the built-in client is
measured as well: its repeated reads are billed too. Calls of KMS are counted by boto's events.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sessions_kms.aws import clients, table_client
from sessions_kms.aws.dynamodb import response_json
from sessions_kms.aws.dynamodb.shapes import OPERATIONS
from sessions_kms.aws.table_client import request_for

TRANSACTION = "TransactWriteItems"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls in this block by operation.

    Each put and delete in a transaction is counted as well.
    """
    calls: Counter[str] = Counter()
    parse = response_json.parse

    def count(client: Any, operation: str, params: Any, *more: Any) -> Any:
        name = OPERATIONS.get(operation, operation)
        # A process reads the cutoff every 30 s, not for each request.
        item_id = params.get("Key", {}).get("id", {}).get("S", "")
        calls[f"{name} (not-before)" if item_id.startswith("not-before#") else name] += 1
        for each in params.get("TransactItems", []):
            calls["in transactions: " + next(iter(each))] += 1
        return request_for(client, operation, params, *more)

    # roto omits the requested capacity of a transaction: the engine would treat the response as
    # incomplete.
    def complete(operation: str, response: Any) -> dict[str, Any]:
        parsed = parse(operation, response)
        if operation == TRANSACTION:
            complete_by_boto(parsed)
        return parsed

    def complete_by_boto(parsed: dict[str, Any], **_: Any) -> None:
        parsed.setdefault("ConsumedCapacity", [])

    def count_kms(model: Any, **_: Any) -> None:
        calls[model.name] += 1

    events = clients._session().get_component("event_emitter")
    events.register("before-call.kms", count_kms)
    events.register(f"after-call.dynamodb.{TRANSACTION}", complete_by_boto)
    with (
        patch.object(table_client, "request_for", count),
        patch.object(response_json, "parse", complete),
    ):
        try:
            yield calls
        finally:
            clients.reset()


def puts(calls: Counter[str]) -> int:
    return calls["PutItem"] + calls["in transactions: Put"]


def deletes(calls: Counter[str]) -> int:
    return calls["DeleteItem"] + calls["in transactions: Delete"]


def reads(calls: Counter[str]) -> int:
    return calls["GetItem"] + calls["Query"] + calls["Scan"]
