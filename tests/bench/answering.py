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

items: dict[tuple[str, str], bytes] = {}


def respond(_: Connection, head: bytes, body: bytes) -> bytes:
    found = TARGET.search(head)
    assert found is not None, head
    asked: dict[str, Any] = json.loads(body)
    if found[1] == b"GetItem":
        return items.get(_place(asked["TableName"], asked["Key"]), MISS)
    if found[1] == b"Query":
        return NOTHING
    writes = [{"Put": asked}] if found[1] == b"PutItem" else asked.get("TransactItems", [])
    for put in [write["Put"] for write in writes if "Put" in write]:
        items[_place(put["TableName"], put["Item"])] = _whole(
            {"ConsumedCapacity": _capacity(put), "Item": put["Item"]}
        )
    return _whole({"ConsumedCapacity": _capacity(asked)})


def _place(table: str, attributes: dict[str, dict[str, str]]) -> tuple[str, str]:
    key = attributes.get("id") or attributes["PK"]
    return table, key["S"]


def _capacity(asked: dict[str, Any]) -> dict[str, Any]:
    return {"TableName": asked.get("TableName", ""), "CapacityUnits": 1.0}


def _whole(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    checksum = b"x-amz-crc32: %d" % zlib.crc32(body)
    return answer(body, KIND, checksum, b"x-amzn-requestid: 0123456789ABCDEF0123456789ABCDEF")


MISS = _whole({"ConsumedCapacity": _capacity({})})
NOTHING = _whole({"ConsumedCapacity": _capacity({}), "Items": [], "Count": 0, "ScannedCount": 0})

if __name__ == "__main__":
    serve(respond)
