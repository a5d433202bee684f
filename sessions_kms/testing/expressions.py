"""Condition and projection expressions of DynamoDB, evaluated in memory.

The parameters of a request and a stored item enter. Knows the expressions that the engine writes:
comparisons, `attribute_exists` and `attribute_not_exists`, joined by OR and then by AND.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sessions_kms.format.attributes import Item

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
}


def holds(params: Mapping[str, Any], item: Item | None) -> bool:
    """Return True if a request has no condition, or the stored item meets it."""
    condition = params.get("ConditionExpression")
    if condition is None:
        return True
    return any(
        all(_holds_term(term, params, item or {}) for term in terms) for terms in _parse(condition)
    )


@lru_cache(maxsize=64)
def _parse(condition: str) -> list[list[str]]:
    return [terms.split(" AND ") for terms in condition.split(" OR ")]


def _holds_term(term: str, params: Mapping[str, Any], item: Item) -> bool:
    if term.startswith("attribute_not_exists("):
        return _argument_of(term, params) not in item
    if term.startswith("attribute_exists("):
        return _argument_of(term, params) in item
    left, comparison, right = term.split(" ")
    stored = item.get(resolve_name(left, params))
    given = params["ExpressionAttributeValues"][right]
    if comparison == "<>":
        return bool(stored != given)
    if stored is None or stored.keys() != given.keys():
        return False
    return COMPARISONS[comparison](_value_of(stored), _value_of(given))


def _argument_of(function: str, params: Mapping[str, Any]) -> str:
    return resolve_name(function.partition("(")[2].rstrip(")"), params)


def resolve_name(name: str, params: Mapping[str, Any]) -> str:
    """Return the name of an attribute, which an expression may have as a `#placeholder`."""
    resolved: str = params["ExpressionAttributeNames"][name] if name.startswith("#") else name
    return resolved


def _value_of(typed: Mapping[str, Any]) -> Any:
    return int(typed["N"]) if "N" in typed else next(iter(typed.values()))


def updated(item: Item, params: Mapping[str, Any]) -> Item:
    """Return an item with the changes of an `UpdateExpression`, which only sets attributes.

    Raises ValueError for another one, which DynamoDB would reject or understand otherwise.
    """
    clause, _, changes = params["UpdateExpression"].partition(" ")
    if clause != "SET":
        raise ValueError(f"Only SET is known: {params['UpdateExpression']}")
    changed = copied(item)
    for change in changes.split(", "):
        name, value = change.split(" = ")
        changed[resolve_name(name, params)] = dict(params["ExpressionAttributeValues"][value])
    return changed


def projected(item: Item, params: Mapping[str, Any]) -> Item:
    """Return the attributes that a request wants: all without a `ProjectionExpression`."""
    if "ProjectionExpression" not in params:
        return copied(item)
    names = {resolve_name(name, params) for name in params["ProjectionExpression"].split(", ")}
    return {name: dict(value) for name, value in item.items() if name in names}


def copied(item: Item) -> Item:
    """Return an item that shares nothing that can be changed."""
    return {name: dict(value) for name, value in item.items()}
