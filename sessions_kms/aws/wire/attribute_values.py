"""DynamoDB's typed values: as boto's callers have them, and as JSON has them.

`{"B": b"…"}` enters and JSON's text leaves, or an object that JSON held enters and is told to be
an item. Knows no operation.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from binascii import b2a_base64 as b2a
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.wire import base64_text

DEPTH_MAX: Final = 32  # maps and lists in each other, as many as DynamoDB takes

Value = dict[str, Any]
Item = dict[str, Value]

NO_ITEM: Final = "An item must be a dict of typed values under their names."

# The types whose values are as JSON has them, once its reader has made bytes of binary ones.
_AS_THEY_ARE: Final[dict[str, type]] = {"S": str, "N": str, "B": bytes, "BOOL": bool, "NULL": bool}


def read_item(item: Any, depth: int = 0) -> Item:
    """Return an object that JSON held if it is typed values under names. Raises GarbledAnswer."""
    __traceback_hide__ = True
    if type(item) is not dict:
        raise GarbledAnswer
    _check(item.values(), depth)
    return item


def _check(values: Iterable[Any], depth: int) -> None:
    """Refuse what are not values of one type each, which fits what they hold."""
    __traceback_hide__ = True
    for value in values:
        if type(value) is not dict or len(value) != 1:
            raise GarbledAnswer
        ((kind, held),) = value.items()
        wanted = _AS_THEY_ARE.get(kind)
        if wanted is None:
            value[kind] = _inner(kind, held, depth + 1)
        elif type(held) is not wanted:
            raise GarbledAnswer


def _inner(kind: str, held: Any, depth: int) -> Any:
    """Return what a value holds that has others in it."""
    __traceback_hide__ = True
    if kind == "M" and depth <= DEPTH_MAX:
        return read_item(held, depth)
    if type(held) is not list:
        raise GarbledAnswer
    if kind == "L" and depth <= DEPTH_MAX:
        _check(held, depth)
        return held
    if kind not in {"SS", "NS", "BS"} or not all(type(each) is str for each in held):
        raise GarbledAnswer
    return list(map(base64_text.read, held)) if kind == "BS" else held


def write_item(parts: list[str], item: Any, depth: int = 0) -> None:
    """Add the JSON of values under their names to the parts of a text. Raises TypeError.

    A large value is a part of its own: it is copied when all are joined, and not before. Texts
    and bytes, which nearly all are, are written here: a call for each would cost more.
    """
    __traceback_hide__ = True
    if not isinstance(item, dict):
        raise TypeError(NO_ITEM)
    begins = "{"
    for name, value in item.items():
        if type(name) is not str:
            raise TypeError(NO_ITEM)
        kind = held = None
        if type(value) is dict and len(value) == 1:
            ((kind, held),) = value.items()
        if type(held) is str and kind in {"S", "N"}:
            parts.append(f'{begins}{quoted(name)}:{{"{kind}":{quoted(held)}}}')
        elif kind != "B" or type(held) is not bytes:
            parts.append(f"{begins}{quoted(name)}:{_written(value, depth)}")
        elif len(held) < base64_text.LARGE:
            parts.append(f'{begins}{quoted(name)}:{{"B":"{b2a(held, newline=False).decode()}"}}')
        else:
            parts += (f'{begins}{quoted(name)}:{{"B":"', base64_text.written(held), '"}')
        begins = ","
    parts.append("}" if item else "{}")


def _written(value: Any, depth: int) -> str:
    """Return the JSON of a value of any type."""
    __traceback_hide__ = True
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError('A value must be a dict of its type and itself: {"S": "text"}.')
    ((kind, held),) = value.items()
    if kind in {"S", "N"} and type(held) is str:
        return f'{{"{kind}":{quoted(held)}}}'
    write = _WRITERS.get(kind)
    if write is None:
        raise TypeError(f"A value of type {kind!r} may not be {type(held).__name__}.")
    return f'{{"{kind}":{write(held, depth + 1)}}}'


def _write_text(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if type(held) is not str:
        raise TypeError(f"A set of texts may not have {type(held).__name__}.")
    return quoted(held)


def _write_binary(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if not isinstance(held, bytes | bytearray):
        raise TypeError(f"A binary value must be bytes, not {type(held).__name__}.")
    return f'"{base64_text.written(held)}"'


def _write_flag(held: Any, _depth: int) -> str:
    if type(held) is not bool:
        raise TypeError(f"A flag must be True or False, not {type(held).__name__}.")
    return "true" if held else "false"


def _write_texts(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _joined(_write_text(each, depth) for each in _listed(held))


def _write_binaries(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _joined(_write_binary(each, depth) for each in _listed(held))


def _write_map(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    parts: list[str] = []
    write_item(parts, held, _no_deeper(depth))
    return "".join(parts)


def _write_list(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    deeper = _no_deeper(depth)
    return _joined(_written(each, deeper) for each in _listed(held))


def _listed(held: Any) -> Iterable[Any]:
    __traceback_hide__ = True
    if not isinstance(held, list | tuple):
        raise TypeError("A set must be a list of texts, or of bytes; a list of values a list.")
    return held


def _joined(members: Iterable[str]) -> str:
    __traceback_hide__ = True
    return f"[{','.join(members)}]"


def _no_deeper(depth: int) -> int:
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
    "M": _write_map,
    "L": _write_list,
}
