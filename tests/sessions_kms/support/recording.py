"""DynamoDB in memory that records its calls; a record for it; and unusual responses."""

import os
from collections.abc import Callable
from typing import Any

from sessions_kms.format.record import SessionRecord
from sessions_kms.storage.session_items import SessionItems
from sessions_kms.storage.table import Table
from sessions_kms.testing.dynamodb import Handle, error
from tests.sessions_kms.support.memory_dynamodb import MemoryDynamoDB

NOW = 1_800_000_000
TABLE = "sessions"


class Recording:
    """DynamoDB in memory, and the table and the sessions that call it.

    ``calls`` are the operations with their parameters, ``told`` the next responses of an operation,
    before those of the table in memory.
    """

    def __init__(self) -> None:
        self.memory = MemoryDynamoDB()
        self.told: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        client: Any = self
        self.table = Table(client, name=TABLE)
        self.records = SessionItems(self.table)

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**asked: Any) -> dict[str, Any]:
            self.calls.append((operation, asked))
            if tables(asked) != {TABLE}:
                raise error(operation, "ResourceNotFoundException")
            if told := self.told.get(operation):
                return told.pop(0)
            response: dict[str, Any] = getattr(self.memory, operation)(**asked)
            return response

        return call

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.calls]


class Suspect:
    """A connection, as a response of the built-in client names it."""

    def __init__(self) -> None:
        self.is_distrusted = False

    def distrust(self) -> None:
        self.is_distrusted = True


def tables(asked: dict[str, Any]) -> set[str | None]:
    """Return the tables of a call."""
    actions = asked.get("TransactItems") or [{"Call": asked}]
    return {call.get("TableName") for action in actions for call in action.values()}


def record(name: str, **changes: Any) -> SessionRecord:
    values: dict[str, Any] = {
        "id": name,
        "created_at": NOW,
        "updated_at": NOW,
        "ttl": NOW + 1000,
        "revision": 1,
        "key_period": 0,
        "encrypted_key": b"wrapped",
        "salt": os.urandom(16),
        "commitment": bytes(32),
        "iv": bytes(12),
        "encrypted_data": b"sealed",
        "auth_tag": bytes(16),
    }
    return SessionRecord(**(values | changes))


def nothing_done(_: Handle) -> dict[str, Any]:
    """An empty response, although the service has done nothing."""
    return {}


def in_conflict(_: Handle) -> dict[str, Any]:
    """Another transaction uses one of the items."""
    reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
    raise error("any", "TransactionCanceledException", CancellationReasons=reasons)
