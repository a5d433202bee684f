"""A minimal DynamoDB for measuring clients: it stores and deletes items, and checks no condition.

    python -m tests.support.production.minimal_dynamodb

The response to a `GetItem` is built when the item is put, with AWS's checksum. A `Query` finds
nothing.
"""

import json
import re
import zlib
from typing import Any

from tests.support.production.http_server import Connection, make_response, serve

TARGET = re.compile(rb"\r\nx-amz-target: *DynamoDB_\d+\.(\w+)", re.IGNORECASE)
CONTENT_TYPE = b"application/x-amz-json-1.0"

items: dict[tuple[str, str], tuple[bytes, dict[str, Any]]] = {}


def respond(_: Connection, head: bytes, body: bytes) -> bytes:
    found = TARGET.search(head)
    assert found is not None, head
    request: dict[str, Any] = json.loads(body)
    if found[1] == b"TransactWriteItems":
        for each in request["TransactItems"]:
            if "Put" in each:
                _store(each["Put"])
            elif "Delete" in each:
                _delete(each["Delete"])
        (first, *_) = request["TransactItems"][0].values()
        return _response({"ConsumedCapacity": [_capacity(first)]})
    consumed = {"ConsumedCapacity": _capacity(request)}
    if found[1] == b"GetItem":
        response, _item = items.get(_key(request["TableName"], request["Key"]), (b"", {}))
        return response or _response(consumed)
    if found[1] == b"Query":
        return _response(consumed | {"Items": [], "Count": 0, "ScannedCount": 0})
    old = None
    if found[1] == b"PutItem":
        old = _store(request)
    elif found[1] == b"DeleteItem":
        old = _delete(request)
    returns_old = old and request.get("ReturnValues") == "ALL_OLD"
    return _response({"Attributes": old, **consumed} if returns_old else consumed)


def _store(put: dict[str, Any]) -> dict[str, Any] | None:
    """Store an item, and return the one that it replaces."""
    key = _key(put["TableName"], put["Item"])
    _, old = items.get(key, (b"", None))
    response = _response({"ConsumedCapacity": _capacity(put), "Item": put["Item"]})
    items[key] = response, put["Item"]
    return old


def _delete(request: dict[str, Any]) -> dict[str, Any] | None:
    """Delete an item, and return it."""
    return items.pop(_key(request["TableName"], request["Key"]), (b"", None))[1]


def _key(table: str, attributes: dict[str, dict[str, str]]) -> tuple[str, str]:
    key = attributes.get("id") or attributes["PK"]
    return table, key["S"]


def _capacity(request: dict[str, Any]) -> dict[str, Any]:
    return {"CapacityUnits": 1.0, "TableName": request["TableName"]}


def _response(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    checksum = b"x-amz-crc32: %d" % zlib.crc32(body)
    request_id = b"x-amzn-requestid: 0123456789ABCDEF0123456789ABCDEF"
    return make_response(body, CONTENT_TYPE, checksum, request_id)


if __name__ == "__main__":
    serve(respond)
