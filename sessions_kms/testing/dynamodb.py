"""DynamoDB in memory, with the interface of boto3's client: the real `Table` uses it.

Has the operations, parameters and conditions that the engine uses, and no others. The tests of the
engine compare it with moto.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, TypeAlias

from botocore.exceptions import ClientError

from sessions_kms.format.attributes import Item
from sessions_kms.testing.expressions import copied, holds, projected, updated

Response: TypeAlias = dict[str, Any]
Handle: TypeAlias = Callable[[], Any]  # has a request handled, and returns the response
CONDITION_FAILED = "ConditionalCheckFailedException"
INDEX_ATTRIBUTES = ("id", "owner", "createdAt")


class MemoryDynamoDB:
    """One table. ``items`` are those that are stored, by id; no request changes an item in place.

    While ``changes`` is a dict, it gets the previous item of each id that is written, or None.
    """

    returns_old = True  # whether a failed condition's error has the stored item, as with AWS
    ttl: str | None = "ttl"

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.changes: dict[str, Item | None] | None = None
        self._lock = Lock()

    def renew_lock(self) -> None:
        """Replace the lock: in a forked child nobody releases one that another thread held."""
        self._lock = Lock()

    # The operations

    def get_item(self, **params: Any) -> Response:
        item_id = _id_of(params["Key"])
        return self._send("GetItem", [item_id], lambda: self._get(item_id, params))

    def put_item(self, **params: Any) -> Response:
        return self._send("PutItem", [_id_of(params["Item"])], lambda: self._put(params))

    def delete_item(self, **params: Any) -> Response:
        return self._send("DeleteItem", [_id_of(params["Key"])], lambda: self._delete(params))

    def update_item(self, **params: Any) -> Response:
        return self._send("UpdateItem", [_id_of(params["Key"])], lambda: self._update(params))

    def transact_write_items(self, **params: Any) -> Response:
        actions = params["TransactItems"]
        members = [member for action in actions for member in action.values()]
        ids = [_id_of(member.get("Item") or member["Key"]) for member in members]
        return self._send("TransactWriteItems", ids, lambda: self._transact(actions))

    def query(self, **params: Any) -> Response:
        owner = params["ExpressionAttributeValues"][":owner"]["S"]
        return self._send("Query", [owner], lambda: self._query(owner, params))

    def scan(self, **params: Any) -> Response:
        return self._send("Scan", [], lambda: self._scan(params))

    def describe_table(self, **params: Any) -> Response:
        table = {"TableName": params["TableName"], "ItemCount": len(self.items)}
        return self._send("DescribeTable", [], lambda: {"Table": table})

    def describe_time_to_live(self, **_: Any) -> Response:
        description: Response = {"TimeToLiveStatus": "DISABLED"}
        if self.ttl is not None:
            description = {"TimeToLiveStatus": "ENABLED", "AttributeName": self.ttl}
        return self._send("DescribeTimeToLive", [], lambda: {"TimeToLiveDescription": description})

    def _send(self, operation: str, ids: list[str], handle: Handle) -> Response:
        """Have a request handled; subclasses let it fail.

        ``ids`` are those of the items that it names, or the owner of a query.
        """
        return self._handle(handle)

    def _handle(self, handle: Handle) -> Response:
        with self._lock:
            response: Response = handle()
            return response

    # What they do

    def _get(self, item_id: str, params: Response) -> Response:
        item = self.items.get(item_id)
        return _with_capacity({} if item is None else {"Item": projected(item, params)}, params)

    def _put(self, params: Response) -> Response:
        item = params["Item"]
        self._check("PutItem", _id_of(item), params)
        old = self._replace(_id_of(item), copied(item))
        return _with_capacity(_old_attributes(old, params), params)

    def _delete(self, params: Response) -> Response:
        self._check("DeleteItem", _id_of(params["Key"]), params)
        old = self._replace(_id_of(params["Key"]), None)
        return _with_capacity(_old_attributes(old, params), params)

    def _update(self, params: Response) -> Response:
        item_id = _id_of(params["Key"])
        self._check("UpdateItem", item_id, params)
        old = self._replace(item_id, updated(self.items.get(item_id) or params["Key"], params))
        return _with_capacity(_old_attributes(old, params), params)

    def _transact(self, actions: list[Response]) -> Response:
        codes = [self._code_of(action) for action in actions]
        if set(codes) != {"None"}:
            reasons = [{"Code": code} for code in codes]
            raise error(
                "TransactWriteItems", "TransactionCanceledException", CancellationReasons=reasons
            )
        for action in actions:
            if "Put" in action:
                self._put(action["Put"])
            else:
                self._delete(action["Delete"])
        return {"ConsumedCapacity": [{"CapacityUnits": 2.0}]}

    def _code_of(self, action: Response) -> str:
        params = action.get("Put") or action["Delete"]
        item_id = _id_of(params.get("Key") or params["Item"])
        return "None" if holds(params, self.items.get(item_id)) else "ConditionalCheckFailed"

    def _check(self, operation: str, item_id: str, params: Response) -> None:
        """Raise an error unless the condition of a write holds."""
        current = self.items.get(item_id)
        if holds(params, current):
            return
        is_wanted = params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        has_item = current and is_wanted and self.returns_old
        members: Any = {"Item": copied(current)} if current and has_item else {}
        raise error(operation, CONDITION_FAILED, **members)

    def _replace(self, item_id: str, item: Item | None) -> Item | None:
        """Store an item, or delete it; return the previous one."""
        old = self.items.get(item_id)
        if self.changes is not None:
            self.changes.setdefault(item_id, old)
        if item is None:
            self.items.pop(item_id, None)
        else:
            self.items[item_id] = item
        return old

    def _query(self, owner: str, params: Response) -> Response:
        found = [item for item in self._indexed().values() if item.get("owner") == {"S": owner}]
        keys = [{name: item[name] for name in INDEX_ATTRIBUTES} for item in found]
        return _page(sorted(keys, key=_newest_first), params, _newest_first)

    def _indexed(self) -> Mapping[str, Item]:
        """Return the items that the index has; AWS's may be older."""
        return self.items

    def _scan(self, params: Response) -> Response:
        return _page([self.items[item_id] for item_id in sorted(self.items)], params, _id_of)


def error(operation: str, code: str, *, status: int = 500, **members: Any) -> ClientError:
    """Return an error as boto raises it."""
    response: Any = {"Error": {"Code": code, "Message": "raised by a test"}, **members}
    response["ResponseMetadata"] = {"HTTPStatusCode": status}
    return ClientError(response, operation)


def _id_of(item: Item) -> str:
    item_id: str = item["id"]["S"]
    return item_id


def _newest_first(item: Item) -> tuple[int, str]:
    return -int(item["createdAt"]["N"]), _id_of(item)


def _page(items: list[Item], params: Response, position: Callable[[Item], Any]) -> Response:
    """Return the items after the one at which a request starts, up to its limit.

    As with DynamoDB that one may have been deleted in the meantime.
    """
    if (start := params.get("ExclusiveStartKey")) is not None:
        items = [item for item in items if position(item) > position(start)]
    shown = items[: params.get("Limit")]
    response: Response = {"Items": [projected(item, params) for item in shown]}
    if len(shown) < len(items):
        names = INDEX_ATTRIBUTES if "IndexName" in params else ("id",)
        response["LastEvaluatedKey"] = {name: shown[-1][name] for name in names}
    return response


def _old_attributes(item: Item | None, params: Mapping[str, Any]) -> Response:
    """Return the previous item, if the request wants it."""
    if item is None or params.get("ReturnValues") != "ALL_OLD":
        return {}
    return {"Attributes": copied(item)}


def _with_capacity(response: Response, params: Mapping[str, Any]) -> Response:
    """Return a response with the consumed capacity, if the request wants it."""
    if params.get("ReturnConsumedCapacity") not in {"TOTAL", "INDEXES"}:
        return response
    return response | {"ConsumedCapacity": {"CapacityUnits": 1.0}}
