"""A DynamoDB that only answers: items are kept as they came, no condition is looked at.

    python -m tests.bench.answering

What is measured against it is the client. A `GetItem` is answered with bytes made when
the item was put, checksum included, as AWS answers. A `Query` finds nothing.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from tests.bench.http_server import Connection, answer, serve

TARGET = re.compile(rb"\r\nx-amz-target: *DynamoDB_\d+\.(\w+)", re.IGNORECASE)
KIND = b"application/x-amz-json-1.0"

items: dict[tuple[str, str], tuple[bytes, dict[str, Any]]] = {}


def respond(_: Connection, head: bytes, body: bytes) -> bytes:
    found = TARGET.search(head)
    assert found is not None, head
    asked: dict[str, Any] = json.loads(body)
    if found[1] == b"TransactWriteItems":
        puts = [each["Put"] for each in asked["TransactItems"] if "Put" in each]
        for put in puts:
            _keep(put)
        return _whole({"ConsumedCapacity": [_capacity(puts[0])]})
    told = {"ConsumedCapacity": _capacity(asked)}
    if found[1] == b"GetItem":
        whole, _item = items.get(_place(asked["TableName"], asked["Key"]), (b"", {}))
        return whole or _whole(told)
    if found[1] == b"Query":
        return _whole(told | {"Items": [], "Count": 0, "ScannedCount": 0})
    old = _keep(asked) if found[1] == b"PutItem" else None
    returns_old = old and asked.get("ReturnValues") == "ALL_OLD"
    return _whole({"Attributes": old, **told} if returns_old else told)


def _keep(put: dict[str, Any]) -> dict[str, Any] | None:
    """Keep an item, and return the one that it replaces."""
    place = _place(put["TableName"], put["Item"])
    _, old = items.get(place, (b"", None))
    whole = _whole({"ConsumedCapacity": _capacity(put), "Item": put["Item"]})
    items[place] = whole, put["Item"]
    return old


def _place(table: str, attributes: dict[str, dict[str, str]]) -> tuple[str, str]:
    key = attributes.get("id") or attributes["PK"]
    return table, key["S"]


def _capacity(asked: dict[str, Any]) -> dict[str, Any]:
    return {"CapacityUnits": 1.0, "TableName": asked["TableName"]}


def _whole(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    checksum = b"x-amz-crc32: %d" % zlib.crc32(body)
    return answer(body, KIND, checksum, b"x-amzn-requestid: 0123456789ABCDEF0123456789ABCDEF")


if __name__ == "__main__":
    serve(respond)
