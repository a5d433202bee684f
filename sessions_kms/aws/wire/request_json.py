"""The body of a request: what boto's client would be given, as DynamoDB's JSON.

An operation's name and its parameters enter; bytes leave, written in one pass. Which of them
belong together, and what their texts mean, AWS looks at.
"""

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from sessions_kms.aws.wire.attribute_values import write_item
from sessions_kms.aws.wire.shapes import REQUESTS, Leaf, ListOf, MapOf, Shape, Structure


def body_of(operation: str, params: Mapping[str, Any]) -> bytes:
    """Return the body of a request. Raises TypeError, naming the parameter that is at fault."""
    __traceback_hide__ = True
    parts: list[str] = []
    _write_fields(parts, REQUESTS[operation], params, operation)
    return "".join(parts).encode()


def _write_fields(parts: list[str], shape: Structure, value: Mapping[str, Any], name: str) -> None:
    __traceback_hide__ = True
    members = shape.members
    if not members.keys() >= value.keys():
        unknown = ", ".join(sorted(map(repr, value.keys() - members.keys())))
        raise TypeError(f"{name} has no parameter {unknown}.")
    begins = "{"
    for each, held in value.items():
        member = members[each]
        if member is Leaf.TEXT and type(held) is str:  # as most are
            parts.append(f'{begins}"{each}":{quoted(held)}')
        elif member is Leaf.FLAG and type(held) is bool:
            parts.append(f'{begins}"{each}":{"true" if held else "false"}')
        elif member is Leaf.ITEM:
            parts.append(f'{begins}"{each}":')
            write_item(parts, held)
        else:
            parts.append(f'{begins}"{each}":')
            _write(parts, member, held, each)
        begins = ","
    parts.append("}" if value else "{}")


def _write(parts: list[str], shape: Shape, value: Any, name: str) -> None:
    """Add the JSON of a parameter to the parts of the body."""
    __traceback_hide__ = True
    if shape is Leaf.ITEM:
        write_item(parts, value)
    elif shape is Leaf.TEXT:
        parts.append(quoted(_of_type(str, value, name)))
    elif isinstance(shape, Leaf):
        parts.append(_leaf(shape, value, name))
    elif isinstance(shape, ListOf):
        _write_list(parts, shape.member, _of_type(list, value, name), name)
    elif isinstance(shape, MapOf):
        _write_map(parts, shape.member, _of_type(dict, value, name), name)
    else:
        _write_fields(parts, shape, _of_type(dict, value, name), name)


def _write_list(parts: list[str], member: Shape, value: list[Any], name: str) -> None:
    __traceback_hide__ = True
    begins = "["
    for held in value:
        parts.append(begins)
        _write(parts, member, held, name)
        begins = ","
    parts.append("]" if value else "[]")


def _write_map(parts: list[str], member: Shape, value: dict[str, Any], name: str) -> None:
    __traceback_hide__ = True
    begins = "{"
    for each, held in value.items():
        parts.append(f"{begins}{quoted(each)}:")
        if member is Leaf.TEXT and type(held) is str:
            parts.append(quoted(held))
        else:
            _write(parts, member, held, name)
        begins = ","
    parts.append("}" if value else "{}")


def _leaf(shape: Leaf, value: Any, name: str) -> str:
    """Return the JSON of a flag or a whole number; no request has a number with a fraction."""
    if shape is Leaf.FLAG:
        return "true" if _of_type(bool, value, name) else "false"
    return str(_of_type(int, value, name))


def _of_type(wanted: type, value: Any, name: str) -> Any:
    __traceback_hide__ = True
    if type(value) is not wanted:
        raise TypeError(f"{name} must be {wanted.__name__}, not {type(value).__name__}.")
    return value
