"""The body of a request: what boto's client would be given, as DynamoDB's JSON.

An operation's name and its parameters enter; bytes leave. Which of them belong together, and
what their texts mean, AWS looks at.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from sessions_kms.aws.wire.attribute_values import written_item
from sessions_kms.aws.wire.shapes import REQUESTS, Leaf, ListOf, MapOf, Shape, Structure

_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_TYPES: Final = {Leaf.TEXT: str, Leaf.FLAG: bool, Leaf.WHOLE: int, Leaf.NUMBER: float}


def body_of(operation: str, params: Mapping[str, Any]) -> bytes:
    """Return the body of a request. Raises TypeError, naming the parameter that is at fault."""
    __traceback_hide__ = True
    return _encode(_written(REQUESTS[operation], params, operation)).encode()


def _written(shape: Shape, value: Any, name: str) -> Any:
    """Return what JSON can hold of a parameter."""
    __traceback_hide__ = True
    if shape is Leaf.ITEM:
        return written_item(value)
    if isinstance(shape, Leaf):
        return _of_type(_TYPES[shape], value, name)
    if isinstance(shape, ListOf):
        members = _of_type(list, value, name)
        return [_written(shape.member, each, name) for each in members]
    members = _of_type(dict, value, name)
    if isinstance(shape, MapOf):
        return {each: _written(shape.member, held, name) for each, held in members.items()}
    return _fields(shape, members, name)


def _fields(shape: Structure, value: dict[str, Any], name: str) -> dict[str, Any]:
    __traceback_hide__ = True
    if unknown := value.keys() - shape.members.keys():
        raise TypeError(f"{name} has no parameter {', '.join(sorted(map(repr, unknown)))}.")
    return {each: _written(shape.members[each], held, each) for each, held in value.items()}


def _of_type(wanted: type, value: Any, name: str) -> Any:
    __traceback_hide__ = True
    if type(value) is not wanted:
        raise TypeError(f"{name} must be {wanted.__name__}, not {type(value).__name__}.")
    return value
