"""What a write expects to find, and the writes that come together or not at all.

Values only, in the words of DynamoDB. Calls nothing.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from sessions_kms.format.attributes import Item, as_number

_NAME = re.compile(r"#(\w+)")


class Condition:
    """What must hold of the item that stands, or of none, for a write to take effect.

    ``expression`` is DynamoDB's, each attribute written `#name`; ``values`` are those of its
    `:value`s, in the attribute form. ``expected`` has attributes that the item that stands has
    then: new ones at each write of it, by which its old state is known in an answer.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
    """

    __slots__ = ("expected", "expression", "values")

    def __init__(
        self, expression: str, values: Item | None = None, *, expected: Item | None = None
    ) -> None:
        self.expression = expression
        self.values: Item = values or {}
        self.expected = expected

    def params(self) -> dict[str, Any]:
        """Return the members of a request that state it."""
        return {
            "ConditionExpression": self.expression,
            "ExpressionAttributeNames": dict(_names_in(self.expression)),
            **({"ExpressionAttributeValues": self.values} if self.values else {}),
        }


ABSENT: Final = Condition("attribute_not_exists(#id)")


def equal(name: str, value: dict[str, Any]) -> Condition:
    """Return the condition that an attribute has a value."""
    return Condition(f"#{name} = :old", {":old": value}, expected={name: value})


def ended_until(moment: int) -> Condition:
    """Return the condition that an item ended until a moment, in epoch seconds."""
    return Condition("#ttl <= :until", {":until": as_number(moment)})


class Put:
    """An item to put, on a condition or whatever stands under its id."""

    __slots__ = ("item", "when")

    def __init__(self, item: Item, when: Condition | None = None) -> None:
        self.item = item
        self.when = when

    def params(self) -> dict[str, Any]:
        """Return the members of a request that state it."""
        return {"Item": self.item} | stated(self.when)


class Delete(NamedTuple):
    """The id of an item to delete, on a condition or whatever stands under it."""

    id: str
    when: Condition | None = None

    def params(self) -> dict[str, Any]:
        """Return the members of a request that state it."""
        return {"Key": key_of(self.id)} | stated(self.when)


Action: TypeAlias = Put | Delete


def update_of(item_id: str, changes: Item, when: Condition) -> dict[str, Any]:
    """Return the members of a request that sets these attributes of an item."""
    expression = "SET " + ", ".join(f"#{name} = :new_{name}" for name in changes)
    new = {f":new_{name}": value for name, value in changes.items()}
    return {
        "Key": key_of(item_id),
        "UpdateExpression": expression,
        "ConditionExpression": when.expression,
        "ExpressionAttributeNames": names_in(f"{expression} {when.expression}"),
        "ExpressionAttributeValues": when.values | new,
    }


def stated(when: Condition | None) -> dict[str, Any]:
    """Return the members of a request that state a condition, if there is one."""
    return {} if when is None else when.params()


def key_of(item_id: str) -> Item:
    """Return the primary key of an item."""
    return {"id": {"S": item_id}}


@lru_cache(maxsize=64)  # The expressions are some twenty.
def _names_in(expression: str) -> Mapping[str, str]:
    return {f"#{name}": name for name in _NAME.findall(expression)}


def names_in(expression: str) -> dict[str, str]:
    """Return the names that an expression's `#name`s stand for."""
    return dict(_names_in(expression))
