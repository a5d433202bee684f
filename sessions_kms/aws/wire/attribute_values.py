"""DynamoDB's typed values: as boto's callers have them, and as JSON has them.

`{"B": b"…"}` enters and `{"B": "…"}` leaves, or the other way round. Knows no operation.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any, Final

from sessions_kms.aws.http1.garbled import GarbledAnswer

DEPTH_MAX: Final = 32  # maps and lists in each other, as many as DynamoDB takes

Value = dict[str, Any]
Item = dict[str, Value]


def read_item(item: Any, depth: int = 0) -> Item:
    """Return the values that JSON holds, under their names. Raises GarbledAnswer."""
    __traceback_hide__ = True
    if type(item) is not dict:
        raise GarbledAnswer
    return {name: _read(value, depth) for name, value in item.items()}


def _read(value: Any, depth: int) -> Value:
    """Return a value that has one type, which fits what it holds."""
    __traceback_hide__ = True
    if type(value) is not dict or len(value) != 1:
        raise GarbledAnswer
    ((kind, held),) = value.items()
    if type(held) is str:
        if kind in {"S", "N"}:
            return value
        if kind == "B":
            return {"B": _binary(held)}
    read = _READERS.get(kind)
    if read is None:
        raise GarbledAnswer
    return {kind: read(held, depth + 1)}


def _read_flag(held: Any, _depth: int) -> bool:
    if type(held) is not bool:
        raise GarbledAnswer
    return held


def _read_texts(held: Any, _depth: int) -> list[str]:
    __traceback_hide__ = True
    if type(held) is not list or not all(type(each) is str for each in held):
        raise GarbledAnswer
    return held


def _read_binaries(held: Any, depth: int) -> list[bytes]:
    __traceback_hide__ = True
    return [_binary(each) for each in _read_texts(held, depth)]


def _read_map(held: Any, depth: int) -> Item:
    __traceback_hide__ = True
    if depth > DEPTH_MAX:
        raise GarbledAnswer
    return read_item(held, depth)


def _read_list(held: Any, depth: int) -> list[Value]:
    __traceback_hide__ = True
    if depth > DEPTH_MAX or type(held) is not list:
        raise GarbledAnswer
    return [_read(each, depth) for each in held]


def _binary(text: str) -> bytes:
    """Return what base64 stands for. Lenient decoding drops what is no letter of it."""
    __traceback_hide__ = True
    if len(text) % 4 == 0:  # Before Python 3.12, strict decoding takes a needless `=`.
        try:
            return a2b_base64(text, strict_mode=True)
        except ValueError:
            pass
    raise GarbledAnswer  # Outside the handler, so that no chain leads to the text.


_READERS: Final[dict[str, Callable[[Any, int], Any]]] = {
    "BOOL": _read_flag,
    "NULL": _read_flag,
    "SS": _read_texts,
    "NS": _read_texts,
    "BS": _read_binaries,
    "M": _read_map,
    "L": _read_list,
}


def written_item(item: Any, depth: int = 0) -> Item:
    """Return values, under their names, as JSON can hold them. Raises TypeError."""
    __traceback_hide__ = True
    if not isinstance(item, dict) or not all(type(name) is str for name in item):
        raise TypeError("An item must be a dict of typed values under their names.")
    return {name: _written(value, depth) for name, value in item.items()}


def _written(value: Any, depth: int) -> Value:
    __traceback_hide__ = True
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError('A value must be a dict of its type and itself: {"S": "text"}.')
    ((kind, held),) = value.items()
    if type(held) is str and kind in {"S", "N"}:
        return value
    write = _WRITERS.get(kind)
    if write is None:
        raise TypeError(f"A value of type {kind!r} may not be {type(held).__name__}.")
    return {kind: write(held, depth + 1)}


def _write_binary(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if not isinstance(held, bytes | bytearray):
        raise TypeError(f"A binary value must be bytes, not {type(held).__name__}.")
    return b2a_base64(held, newline=False).decode()


def _write_flag(held: Any, _depth: int) -> bool:
    if type(held) is not bool:
        raise TypeError(f"A flag must be True or False, not {type(held).__name__}.")
    return held


def _write_texts(held: Any, _depth: int) -> list[str]:
    __traceback_hide__ = True
    if not isinstance(held, list | tuple) or not all(type(each) is str for each in held):
        raise TypeError("A set must be a list of texts, or of bytes.")
    return list(held)


def _write_binaries(held: Any, depth: int) -> list[str]:
    __traceback_hide__ = True
    if not isinstance(held, list | tuple):
        raise TypeError("A set must be a list of texts, or of bytes.")
    return [_write_binary(each, depth) for each in held]


def _write_map(held: Any, depth: int) -> Item:
    __traceback_hide__ = True
    return written_item(held, _no_deeper(depth))


def _write_list(held: Any, depth: int) -> list[Value]:
    __traceback_hide__ = True
    if not isinstance(held, list | tuple):
        raise TypeError("A list of values must be a list.")
    return [_written(each, _no_deeper(depth)) for each in held]


def _no_deeper(depth: int) -> int:
    if depth > DEPTH_MAX:
        raise TypeError(f"Maps and lists may not be in each other over {DEPTH_MAX} times.")
    return depth


_WRITERS: Final[dict[Any, Callable[[Any, int], Any]]] = {
    "B": _write_binary,
    "BOOL": _write_flag,
    "NULL": _write_flag,
    "SS": _write_texts,
    "NS": _write_texts,
    "BS": _write_binaries,
    "M": _write_map,
    "L": _write_list,
}
