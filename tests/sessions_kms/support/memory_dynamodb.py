"""DynamoDB in memory, as boto3's client speaks it: for the real `Table`, without a network.

Knows the operations and conditions that the engine uses and refuses all others.
`test_memory_dynamodb.py` holds it against moto.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

from botocore.exceptions import ClientError

from sessions_kms.aws.table_client import CONNECTION
from sessions_kms.format.attributes import Item
from tests.sessions_kms.support.wire import Fault, Handle, Wire

Answer = dict[str, Any]
CONDITION_FAILED = "ConditionalCheckFailedException"
INDEX_ATTRIBUTES = ("id", "owner", "createdAt")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
}


class Connection:
    """A connection that gave one answer."""

    def distrust(self) -> None:
        """Do nothing: it gives no other."""


class MemoryDynamoDB:
    """One table; ``items`` is what a dump would show. Each call goes over the wire, and is
    listed in ``calls`` with the kinds of item that it names ("PutItem session").

    ``returns_old`` off is an engine that does not give the item of a failed condition;
    ``unavailable`` has it refuse all calls. With ``has_connections`` each answer says that it came
    on a connection of its own, as those of the built-in client do: so it is confirmed where
    those are.
    """

    def __init__(self, wire: Wire | None = None, *, returns_old: bool = True) -> None:
        self.items: dict[str, Item] = {}
        self.calls: list[str] = []
        self.wire = wire or Wire()
        self.returns_old = returns_old
        self.unavailable = False
        self.has_connections = False
        self.ttl: str | None = "ttl"
        self._rules: dict[str, Fault] = {}
        self._index: dict[str, Item] | None = None
        self._lock = Lock()

    def on(self, call: str, fault: Fault) -> None:
        """Let a fault strike a call, named as it is listed, from now on: `heal` ends it."""
        self._rules[call] = fault

    def heal(self) -> None:
        """Let no fault strike any more."""
        self._rules.clear()
        self.unavailable = False

    def stop_index(self) -> None:
        """Let the index show what is there now, until it catches up."""
        self._index = dict(self.items)

    def catch_up(self) -> None:
        """Let the index show what is there, from now on."""
        self._index = None

    # The operations

    def get_item(self, **call: Any) -> Answer:
        item_id = _id(call["Key"])
        return self._send("GetItem", [item_id], lambda: self._get(item_id, call))

    def put_item(self, **call: Any) -> Answer:
        return self._send("PutItem", [_id(call["Item"])], lambda: self._put(call))

    def delete_item(self, **call: Any) -> Answer:
        return self._send("DeleteItem", [_id(call["Key"])], lambda: self._delete(call))

    def update_item(self, **call: Any) -> Answer:
        return self._send("UpdateItem", [_id(call["Key"])], lambda: self._update(call))

    def transact_write_items(self, **call: Any) -> Answer:
        actions = call["TransactItems"]
        ids = [
            _id(each.get("Item") or each["Key"]) for action in actions for each in action.values()
        ]
        return self._send("TransactWriteItems", ids, lambda: self._transact(actions))

    def query(self, **call: Any) -> Answer:
        owner = call["ExpressionAttributeValues"][":owner"]["S"]
        return self._send("Query", [owner], lambda: self._query(owner, call))

    def scan(self, **call: Any) -> Answer:
        return self._send("Scan", [], lambda: self._scan(call))

    def describe_table(self, **call: Any) -> Answer:
        told = {"Table": {"TableName": call["TableName"], "ItemCount": len(self.items)}}
        return self._send("DescribeTable", [], lambda: told)

    def describe_time_to_live(self, **_: Any) -> Answer:
        told: Answer = {"TimeToLiveStatus": "DISABLED"}
        if self.ttl is not None:
            told = {"TimeToLiveStatus": "ENABLED", "AttributeName": self.ttl}
        return self._send("DescribeTimeToLive", [], lambda: {"TimeToLiveDescription": told})

    def _send(self, operation: str, ids: list[str], handle: Handle) -> Answer:
        call = " ".join([operation, *map(kind_of, ids)])
        self.calls.append(call)
        if self.unavailable:
            raise refusal(operation)
        fault = self._rules.get(call, unharmed)
        answer: Answer = fault(lambda: self.wire.send(operation, lambda: self._handled(handle)))
        if self.has_connections and isinstance(answer, dict):
            answer = answer | {"ResponseMetadata": {CONNECTION: Connection()}}
        return answer

    def _handled(self, handle: Handle) -> Answer:
        with self._lock:
            answer: Answer = handle()
            return answer

    # What they do

    def _get(self, item_id: str, call: Answer) -> Answer:
        item = self.items.get(item_id)
        return _whole({} if item is None else {"Item": _projected(item, call)}, call)

    def _put(self, call: Answer) -> Answer:
        item = call["Item"]
        self._check("PutItem", _id(item), call)
        old = self.items.get(_id(item))
        self.items[_id(item)] = _copied(item)
        return _whole(_old(old, call), call)

    def _delete(self, call: Answer) -> Answer:
        self._check("DeleteItem", _id(call["Key"]), call)
        old = self.items.pop(_id(call["Key"]), None)
        return _whole(_old(old, call), call)

    def _update(self, call: Answer) -> Answer:
        item_id = _id(call["Key"])
        self._check("UpdateItem", item_id, call)
        old = self.items.get(item_id)
        changed = _copied(old or call["Key"])
        for change in call["UpdateExpression"].removeprefix("SET ").split(", "):
            name, value = change.split(" = ")
            changed[_name(name, call)] = dict(call["ExpressionAttributeValues"][value])
        self.items[item_id] = changed
        return _whole(_old(old, call), call)

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
        return {"ConsumedCapacity": [{"CapacityUnits": 2.0}]}

    def _code(self, action: Answer) -> str:
        call = action.get("Put") or action["Delete"]
        item_id = _id(call.get("Key") or call["Item"])
        return "None" if holds(call, self.items.get(item_id)) else "ConditionalCheckFailed"

    def _check(self, operation: str, item_id: str, call: Answer) -> None:
        current = self.items.get(item_id)
        if holds(call, current):
            return
        wanted = call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        shown: Any = {"Item": _copied(current)} if current and wanted and self.returns_old else {}
        raise error(operation, CONDITION_FAILED, **shown)

    def _query(self, owner: str, call: Answer) -> Answer:
        there = self.items if self._index is None else self._index
        found = [item for item in there.values() if item.get("owner") == {"S": owner}]
        keys = [{name: item[name] for name in INDEX_ATTRIBUTES} for item in found]
        return _page(sorted(keys, key=_newest_first), call, _newest_first)

    def _scan(self, call: Answer) -> Answer:
        return _page([self.items[each] for each in sorted(self.items)], call, _id)


def kind_of(item_id: str) -> str:
    """Return what kind of item an id, or an owner, is of: the first word of it."""
    return item_id.partition("#")[0] if "#" in item_id else "session"


def unharmed(handle: Handle) -> Any:
    """No fault: the call is handled."""
    return handle()


def after(do: Callable[[], object]) -> Fault:
    """Have something done just before a call is handled."""

    def done_first(handle: Handle) -> Any:
        do()
        return handle()

    return done_first


def refused(_: Handle) -> Any:
    """The call is refused: it is not handled, and not sent again."""
    raise refusal("any")


def refusal(operation: str) -> ClientError:
    """Return the error of a call that was not handled and is not to be sent again."""
    return error(operation, "ValidationException", status=400)


def error(operation: str, code: str, *, status: int = 500, **members: Any) -> ClientError:
    """Return an error as boto raises it."""
    response: Any = {"Error": {"Code": code, "Message": "told by a test"}, **members}
    response["ResponseMetadata"] = {"HTTPStatusCode": status}
    return ClientError(response, operation)


# Conditions


def holds(call: Mapping[str, Any], item: Item | None) -> bool:
    """Return True if the condition of a call, if it has one, holds for what is stored."""
    condition = call.get("ConditionExpression")
    if condition is None:
        return True
    return any(
        all(_term(term, call, item or {}) for term in either) for either in _parsed(condition)
    )


@lru_cache(maxsize=64)
def _parsed(condition: str) -> list[list[str]]:
    return [either.split(" AND ") for either in condition.split(" OR ")]


def _term(term: str, call: Mapping[str, Any], item: Item) -> bool:
    if term.startswith("attribute_not_exists("):
        return _name(term.removeprefix("attribute_not_exists(").rstrip(")"), call) not in item
    if term.startswith("attribute_exists("):
        return _name(term.removeprefix("attribute_exists(").rstrip(")"), call) in item
    left, comparison, right = term.split(" ")
    stored = item.get(_name(left, call))
    given = call["ExpressionAttributeValues"][right]
    if comparison == "<>":
        return bool(stored != given)
    if stored is None or stored.keys() != given.keys():
        return False
    return COMPARISONS[comparison](_value(stored), _value(given))


def _name(shown: str, call: Mapping[str, Any]) -> str:
    name: str = call["ExpressionAttributeNames"][shown] if shown.startswith("#") else shown
    return name


def _value(typed: Mapping[str, Any]) -> Any:
    return int(typed["N"]) if "N" in typed else next(iter(typed.values()))


# Items


def _id(item: Item) -> str:
    item_id: str = item["id"]["S"]
    return item_id


def _newest_first(item: Item) -> tuple[int, str]:
    return -int(item["createdAt"]["N"]), _id(item)


def _copied(item: Item) -> Item:
    return {name: dict(value) for name, value in item.items()}


def _projected(item: Item, call: Mapping[str, Any]) -> Item:
    """Return the attributes that a call asks for: all, unless it says which."""
    if "ProjectionExpression" not in call:
        return _copied(item)
    names = {_name(shown, call) for shown in call["ProjectionExpression"].split(", ")}
    return {name: dict(value) for name, value in item.items() if name in names}


def _page(items: list[Item], call: Answer, place: Callable[[Item], Any]) -> Answer:
    """Return the items after the one at which a call starts, as many as it asks for.

    As with DynamoDB that one may be gone meanwhile.
    """
    if (start := call.get("ExclusiveStartKey")) is not None:
        items = [item for item in items if place(item) > place(start)]
    shown = items[: call.get("Limit")]
    answer: Answer = {"Items": [_projected(item, call) for item in shown]}
    if len(shown) < len(items):
        names = INDEX_ATTRIBUTES if "IndexName" in call else ("id",)
        answer["LastEvaluatedKey"] = {name: shown[-1][name] for name in names}
    return answer


def _old(item: Item | None, call: Mapping[str, Any]) -> Answer:
    """Return the item that was there before, where the call asks for it."""
    if item is None or call.get("ReturnValues") != "ALL_OLD":
        return {}
    return {"Attributes": _copied(item)}


def _whole(answer: Answer, call: Mapping[str, Any]) -> Answer:
    """Return an answer with the capacity that it took, where the call asks for that."""
    if call.get("ReturnConsumedCapacity") not in {"TOTAL", "INDEXES"}:
        return answer
    return answer | {"ConsumedCapacity": {"CapacityUnits": 1.0}}
