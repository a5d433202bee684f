"""DynamoDB's typed values: as boto's callers have them, and as JSON has them.

`{"B": b"…"}` enters and JSON's text leaves, or an object that JSON held enters and is told to be
an item. Knows no operation.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

from sessions_kms.aws.http1.garbled import GarbledAnswer

DEPTH_MAX: Final = 32  # maps and lists in each other, as many as DynamoDB takes

Value = dict[str, Any]
Item = dict[str, Value]

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
    return [binary(each) for each in held] if kind == "BS" else held


def binary(text: str | bytes) -> bytes:
    """Return what base64 stands for. Raises GarbledAnswer.

    Lenient decoding drops what is no letter of it.
    """
    __traceback_hide__ = True
    if len(text) % 4 == 0:  # Before Python 3.12, strict decoding takes a needless `=`.
        try:
            return a2b_base64(text, strict_mode=True)
        except ValueError:
            pass
    raise GarbledAnswer  # Outside the handler, so that no chain leads to the text.


def written_item(item: Any, depth: int = 0) -> str:
    """Return the JSON of values under their names. Raises TypeError."""
    __traceback_hide__ = True
    if not isinstance(item, dict) or not all(type(name) is str for name in item):
        raise TypeError("An item must be a dict of typed values under their names.")
    pairs = [f"{quoted(name)}:{_written(value, depth)}" for name, value in item.items()]
    return f"{{{','.join(pairs)}}}"


def _written(value: Any, depth: int) -> str:
    __traceback_hide__ = True
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError('A value must be a dict of its type and itself: {"S": "text"}.')
    ((kind, held),) = value.items()
    write = _WRITERS.get(kind)
    if write is None:
        raise TypeError(f"There is no type {kind!r} of values.")
    return f'{{"{kind}":{write(held, depth + 1)}}}'


def _write_text(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if type(held) is not str:
        raise TypeError(f"A value of type 'S' or 'N' may not be {type(held).__name__}.")
    return quoted(held)


def _write_binary(held: Any, _depth: int) -> str:
    __traceback_hide__ = True
    if not isinstance(held, bytes | bytearray):
        raise TypeError(f"A binary value must be bytes, not {type(held).__name__}.")
    return f'"{b2a_base64(held, newline=False).decode()}"'


def _write_flag(held: Any, _depth: int) -> str:
    if type(held) is not bool:
        raise TypeError(f"A flag must be True or False, not {type(held).__name__}.")
    return "true" if held else "false"


def _write_texts(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _written_list(held, _write_text, depth)


def _write_binaries(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _written_list(held, _write_binary, depth)


def _write_map(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return written_item(held, _no_deeper(depth))


def _write_list(held: Any, depth: int) -> str:
    __traceback_hide__ = True
    return _written_list(held, _written, _no_deeper(depth))


def _written_list(held: Any, write: Callable[[Any, int], str], depth: int) -> str:
    __traceback_hide__ = True
    if not isinstance(held, list | tuple):
        raise TypeError("A set must be a list of texts, or of bytes; a list of values a list.")
    return f"[{','.join([write(each, depth) for each in held])}]"


def _no_deeper(depth: int) -> int:
    if depth > DEPTH_MAX:
        raise TypeError(f"Maps and lists may not be in each other over {DEPTH_MAX} times.")
    return depth


_WRITERS: Final[dict[Any, Callable[[Any, int], str]]] = {
    "S": _write_text,
    "N": _write_text,
    "B": _write_binary,
    "BOOL": _write_flag,
    "NULL": _write_flag,
    "SS": _write_texts,
    "NS": _write_texts,
    "BS": _write_binaries,
    "M": _write_map,
    "L": _write_list,
}
