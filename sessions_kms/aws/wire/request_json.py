"""The body of a request: what boto's client would be given, as DynamoDB's JSON.

An operation's name and its parameters enter; bytes leave, written in one pass. Which of them
belong together, and what their texts mean, AWS looks at.
"""

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from sessions_kms.aws.wire.attribute_values import written_item
from sessions_kms.aws.wire.shapes import REQUESTS, Leaf, ListOf, MapOf, Shape, Structure


def body_of(operation: str, params: Mapping[str, Any]) -> bytes:
    """Return the body of a request. Raises TypeError, naming the parameter that is at fault."""
    __traceback_hide__ = True
    return _fields(REQUESTS[operation], params, operation).encode()


def _fields(shape: Structure, value: Mapping[str, Any], name: str) -> str:
    __traceback_hide__ = True
    members = shape.members
    if not members.keys() >= value.keys():
        unknown = ", ".join(sorted(map(repr, value.keys() - members.keys())))
        raise TypeError(f"{name} has no parameter {unknown}.")
    pairs = []
    for each, held in value.items():
        member = members[each]
        if member is Leaf.TEXT and type(held) is str:  # as most are
            pairs.append(f'"{each}":{quoted(held)}')
        elif member is Leaf.ITEM:
            pairs.append(f'"{each}":{written_item(held)}')
        elif member is Leaf.FLAG and type(held) is bool:
            pairs.append(f'"{each}":{"true" if held else "false"}')
        else:
            pairs.append(f'"{each}":{_written(member, held, each)}')
    return f"{{{','.join(pairs)}}}"


def _written(shape: Shape, value: Any, name: str) -> str:
    """Return the JSON of a parameter."""
    __traceback_hide__ = True
    if shape is Leaf.ITEM:
        return written_item(value)
    if shape is Leaf.TEXT:
        return quoted(_of_type(str, value, name))
    if isinstance(shape, Leaf):
        return _leaf(shape, value, name)
    if isinstance(shape, ListOf):
        members = [_written(shape.member, each, name) for each in _of_type(list, value, name)]
        return f"[{','.join(members)}]"
    if isinstance(shape, MapOf):
        return _map(shape.member, _of_type(dict, value, name), name)
    return _fields(shape, _of_type(dict, value, name), name)


def _leaf(shape: Leaf, value: Any, name: str) -> str:
    """Return the JSON of a flag or a whole number; no request has a number with a fraction."""
    if shape is Leaf.FLAG:
        return "true" if _of_type(bool, value, name) else "false"
    return str(_of_type(int, value, name))


def _map(member: Shape, value: dict[str, Any], name: str) -> str:
    __traceback_hide__ = True
    pairs = []
    for each, held in value.items():
        is_text = member is Leaf.TEXT and type(held) is str
        pairs.append(f"{quoted(each)}:{quoted(held) if is_text else _written(member, held, name)}")
    return f"{{{','.join(pairs)}}}"


def _of_type(wanted: type, value: Any, name: str) -> Any:
    __traceback_hide__ = True
    if type(value) is not wanted:
        raise TypeError(f"{name} must be {wanted.__name__}, not {type(value).__name__}.")
    return value
