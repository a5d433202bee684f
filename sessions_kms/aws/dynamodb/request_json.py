"""The body of a request: boto's parameters, as DynamoDB's JSON.

Takes an operation's name and its parameters, with typed values such as `{"B": b"…"}`; returns
bytes, written in one pass. AWS validates the combination of parameters, and their texts.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from binascii import b2a_base64 as b2a
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

import pybase64

from sessions_kms.aws.dynamodb.shapes import (
    DEPTH_MAX,
    FLAG,
    ITEM,
    REQUESTS,
    TEXT,
    Leaf,
    ListOf,
    MapOf,
    Shape,
    Structure,
)

LARGE: Final = 128  # bytes, below which Python's own base64 encoder is faster
NO_ITEM: Final = "An item must be a dict of typed values under their names."
NO_VALUE: Final = 'A value must be a dict of its type and itself: {"S": "text"}.'


def write_body(operation: str, params: Mapping[str, Any]) -> bytes:
    """Return the body of a request. Raises TypeError that names the invalid parameter."""
    __traceback_hide__ = True
    parts: list[str] = []
    _write_fields(parts, REQUESTS[operation], params, operation)
    return "".join(parts).encode()


def _write_fields(parts: list[str], shape: Structure, value: Mapping[str, Any], name: str) -> None:
    __traceback_hide__ = True
    members = shape.members
    begins = "{"
    for each, held in value.items():
        member = members.get(each)
        if member is TEXT and type(held) is str:  # as most are
            parts.append(f'{begins}"{each}":{quoted(held)}')
        elif member is FLAG and type(held) is bool:
            parts.append(f'{begins}"{each}":{"true" if held else "false"}')
        elif member is ITEM:
            parts.append(f'{begins}"{each}":')
            write_item(parts, held)
        elif member is None:
            unknown = ", ".join(sorted(map(repr, value.keys() - members.keys())))
            raise TypeError(f"{name} has no parameter {unknown}.")
        else:
            parts.append(f'{begins}"{each}":')
            _write(parts, member, held, each)
        begins = ","
    parts.append("}" if value else "{}")


def _write(parts: list[str], shape: Shape, value: Any, name: str) -> None:
    """Append the JSON of a parameter to the parts of the body."""
    __traceback_hide__ = True
    if shape is ITEM:
        write_item(parts, value)
    elif shape is TEXT:
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
        if member is TEXT and type(held) is str:
            parts.append(quoted(held))
        else:
            _write(parts, member, held, name)
        begins = ","
    parts.append("}" if value else "{}")


def _leaf(shape: Leaf, value: Any, name: str) -> str:
    """Return the JSON of a flag or a whole number; no request has a number with a fraction."""
    if shape is FLAG:
        return "true" if _of_type(bool, value, name) else "false"
    return str(_of_type(int, value, name))


def _of_type(wanted: type, value: Any, name: str) -> Any:
    __traceback_hide__ = True
    if type(value) is not wanted:
        raise TypeError(f"{name} must be {wanted.__name__}, not {type(value).__name__}.")
    return value


def write_item(parts: list[str], item: Any, depth: int = 0) -> None:
    """Append the JSON of an item to the parts of a text. Raises TypeError.

    A large value is a separate part, so that it is copied only when all parts are joined. Texts,
    numbers and bytes, the usual types, are written here, without a call for each.
    """
    __traceback_hide__ = True
    if not isinstance(item, dict):
        raise TypeError(NO_ITEM)
    begins = "{"
    for name, value in item.items():
        if type(name) is not str:
            raise TypeError(NO_ITEM)
        if not isinstance(value, dict) or len(value) != 1:
            raise TypeError(NO_VALUE)
        if type(held := value.get("N")) is str:
            parts.append(f'{begins}{quoted(name)}:{{"N":{quoted(held)}}}')
        elif type(held := value.get("S")) is str:
            parts.append(f'{begins}{quoted(name)}:{{"S":{quoted(held)}}}')
        elif type(held := value.get("B")) is not bytes:
            parts.append(f"{begins}{quoted(name)}:{_write_value(value, depth)}")
        elif len(held) < LARGE:
            parts.append(f'{begins}{quoted(name)}:{{"B":"{b2a(held, newline=False).decode()}"}}')
        else:
            parts += (f'{begins}{quoted(name)}:{{"B":"', encode_base64(held), '"}')
        begins = ","
    parts.append("}" if item else "{}")


def _write_value(value: Any, depth: int) -> str:
    """Return the JSON of a value of any type."""
    __traceback_hide__ = True
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError(NO_VALUE)
    ((kind, held),) = value.items()
    if kind in {"S", "N"} and type(held) is str:
        return f'{{"{kind}":{quoted(held)}}}'
    write = _WRITERS.get(kind)
    if write is None:
        raise TypeError(f"A value of type {kind!r} may not be {type(held).__name__}.")
    return f'{{"{kind}":{write(held, depth + 1)}}}'


def _quote(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if type(held) is not str:
        raise TypeError(f"A set of texts may not have {type(held).__name__}.")
    return quoted(held)


def _write_binary(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if not isinstance(held, bytes | bytearray):
        raise TypeError(f"A binary value must be bytes, not {type(held).__name__}.")
    return f'"{encode_base64(held)}"'


def _write_flag(held: Any, _depth: int) -> str:
    if type(held) is not bool:
        raise TypeError(f"A flag must be True or False, not {type(held).__name__}.")
    return "true" if held else "false"


def _write_texts(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _write_array(_quote(each, depth) for each in _as_list(held))


def _write_binaries(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _write_array(_write_binary(each, depth) for each in _as_list(held))


def _write_map_value(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    parts: list[str] = []
    write_item(parts, held, _check_depth(depth))
    return "".join(parts)


def _write_list_value(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    deeper = _check_depth(depth)
    return _write_array(_write_value(each, deeper) for each in _as_list(held))


def _as_list(held: Any) -> Iterable[Any]:
    __traceback_hide__ = True
    if not isinstance(held, list | tuple):
        raise TypeError("A set must be a list of texts, or of bytes; a list of values a list.")
    return held


def _write_array(members: Iterable[str]) -> str:
    __traceback_hide__ = True
    return f"[{','.join(members)}]"


def _check_depth(depth: int) -> int:
    if depth > DEPTH_MAX:
        raise TypeError(f"Maps and lists may not be in each other over {DEPTH_MAX} times.")
    return depth


_WRITERS: Final[dict[Any, Callable[[Any, int], str]]] = {
    "B": _write_binary,
    "BOOL": _write_flag,
    "NULL": _write_flag,
    "SS": _write_texts,
    "NS": _write_texts,
    "BS": _write_binaries,
    "M": _write_map_value,
    "L": _write_list_value,
}


def encode_base64(data: bytes | bytearray) -> str:
    """Return bytes as base64; see `compact_json` for pybase64."""
    if len(data) >= LARGE:
        return pybase64.b64encode_as_string(data)
    return b2a(data, newline=False).decode()
