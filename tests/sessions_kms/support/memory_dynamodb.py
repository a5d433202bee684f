"""DynamoDB in memory, as boto3's client speaks it: for thousands of runs of the real `Table`.

Knows the operations and conditions that the engine uses and refuses all others.
`test_memory_dynamodb.py` holds it against moto.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from sessions_kms.format.attributes import Item
from tests.sessions_kms.support.wire import Wire

Answer = dict[str, Any]
CONDITION_FAILED = "ConditionalCheckFailedException"
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
}


class MemoryDynamoDB:
    """One table; ``items`` is what a dump would show. Each call goes over the wire.

    ``returns_old`` off is an engine that does not give the item of a failed condition.
    """

    def __init__(self, wire: Wire | None = None, *, returns_old: bool = True) -> None:
        self.items: dict[str, Item] = {}
        self.wire = wire or Wire()
        self.returns_old = returns_old

    def get_item(self, **call: Any) -> Answer:
        return self._send(
            "GetItem", lambda: _whole(_item(_projected(self.items.get(_id(call["Key"])), call)))
        )

    def put_item(self, **call: Any) -> Answer:
        return self._send("PutItem", lambda: self._put(call))

    def delete_item(self, **call: Any) -> Answer:
        return self._send("DeleteItem", lambda: self._delete(call))

    def update_item(self, **call: Any) -> Answer:
        return self._send("UpdateItem", lambda: self._update(call))

    def transact_write_items(self, **call: Any) -> Answer:
        return self._send("TransactWriteItems", lambda: self._transact(call["TransactItems"]))

    def query(self, **call: Any) -> Answer:
        return self._send("Query", lambda: self._query(call))

    def _send(self, operation: str, handle: Callable[[], Answer]) -> Answer:
        answer: Answer = self.wire.send(operation, handle)
        return answer

    def _put(self, call: Answer) -> Answer:
        item = call["Item"]
        self._check("PutItem", item["id"]["S"], call)
        self.items[item["id"]["S"]] = copy.deepcopy(item)
        return _whole({})

    def _delete(self, call: Answer) -> Answer:
        self._check("DeleteItem", _id(call["Key"]), call)
        self.items.pop(_id(call["Key"]), None)
        return _whole({})

    def _update(self, call: Answer) -> Answer:
        item_id = _id(call["Key"])
        self._check("UpdateItem", item_id, call)
        for change in call["UpdateExpression"].removeprefix("SET ").split(", "):
            name, value = change.split(" = ")
            self.items[item_id][name] = call["ExpressionAttributeValues"][value]
        return _whole({})

    def _transact(self, actions: list[Answer]) -> Answer:
        codes = [self._code(action) for action in actions]
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
        return _whole({})

    def _code(self, action: Answer) -> str:
        call = action.get("Put") or action["Delete"]
        item_id = _id(call.get("Key") or call["Item"])
        return "None" if holds(call, self.items.get(item_id)) else "ConditionalCheckFailed"

    def _check(self, operation: str, item_id: str, call: Answer) -> None:
        current = self.items.get(item_id)
        if holds(call, current):
            return
        wanted = call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        shown = _item(current) if wanted and self.returns_old else {}
        raise error(operation, CONDITION_FAILED, **shown)

    def _query(self, call: Answer) -> Answer:
        owner = call["ExpressionAttributeValues"][":owner"]
        found = [item for item in self.items.values() if item.get("owner") == owner]
        found.sort(key=lambda item: int(item["createdAt"]["N"]), reverse=True)
        keys = ("id", "owner", "createdAt")  # all that the index has
        return _whole({"Items": [{name: item[name] for name in keys} for item in found]})


def error(operation: str, code: str, **members: Any) -> ClientError:
    """Return an error as boto raises it."""
    response: Any = {"Error": {"Code": code, "Message": "told by a test"}, **members}
    return ClientError(response, operation)


def holds(call: Mapping[str, Any], item: Item | None) -> bool:
    """Tell whether the condition of a call, if it has one, holds for what is stored."""
    condition = call.get("ConditionExpression")
    if condition is None:
        return True
    return any(
        all(_term(term, call, item or {}) for term in either.split(" AND "))
        for either in condition.split(" OR ")
    )


def _term(term: str, call: Mapping[str, Any], item: Item) -> bool:
    if term.startswith("attribute_not_exists("):
        return _name(term.removeprefix("attribute_not_exists(").rstrip(")"), call) not in item
    if term.startswith("attribute_exists("):
        return _name(term.removeprefix("attribute_exists(").rstrip(")"), call) in item
    left, comparison, right = term.split(" ")
    stored = item.get(_name(left, call))
    given = call["ExpressionAttributeValues"][right]
    if stored is None or stored.keys() != given.keys():
        return False
    return COMPARISONS[comparison](_value(stored), _value(given))


def _name(shown: str, call: Mapping[str, Any]) -> str:
    name: str = call["ExpressionAttributeNames"][shown] if shown.startswith("#") else shown
    return name


def _value(typed: Mapping[str, Any]) -> Any:
    return int(typed["N"]) if "N" in typed else next(iter(typed.values()))


def _id(key: Mapping[str, Any]) -> str:
    item_id: str = key["id"]["S"]
    return item_id


def _item(item: Item | None) -> Answer:
    return {} if item is None else {"Item": copy.deepcopy(item)}


def _projected(item: Item | None, call: Mapping[str, Any]) -> Item | None:
    """Return the attributes that a call asks for: all, unless it says which."""
    if item is None or "ProjectionExpression" not in call:
        return item
    names = {_name(shown, call) for shown in call["ProjectionExpression"].split(", ")}
    return {name: value for name, value in item.items() if name in names}


def _whole(answer: Answer) -> Answer:
    return answer | {"ConsumedCapacity": {"CapacityUnits": 1.0}}
