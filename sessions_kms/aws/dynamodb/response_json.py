"""A response of DynamoDB: what boto's client would return, or the error that it would raise.

Takes an operation's name and an HTTP response. Faulty responses that boto would tolerate (invalid
characters in base64, repeated names, a text for a number) are rejected: a response is parsed as
boto parses it, or not at all.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from sessions_kms.aws.dynamodb.compact_json import (
    BESIDE_MAX,
    Item,
    decode_base64,
    forms,
    with_item_last,
    with_old_item_first,
)
from sessions_kms.aws.dynamodb.shapes import (
    DEPTH_MAX,
    ERRORS,
    MEMBERS,
    RESPONSES,
    Leaf,
    ListOf,
    MapOf,
    Shape,
    Structure,
)
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

OK: Final = 200  # a number: HTTPStatus.OK would call a function of Python's
ITEM_CUT: Final = "Item", with_item_last
OLD_ITEM_CUT: Final = "Attributes", with_old_item_first

_TYPES: Final = {
    Leaf.TEXT: (str,),
    Leaf.FLAG: (bool,),
    Leaf.WHOLE: (int,),
    Leaf.NUMBER: (int, float),
}
# The types whose values are as JSON has them, once its reader has made bytes of binary ones.
_PLAIN_TYPES: Final[dict[str, type]] = {"S": str, "N": str, "B": bytes, "BOOL": bool, "NULL": bool}


def parse(operation: str, response: Response) -> dict[str, Any]:
    """Return a parsed response. Raises botocore's ClientError, or InvalidResponse."""
    __traceback_hide__ = True
    checksum = response.headers.get("x-amz-crc32")
    if checksum is not None and checksum != str(zlib.crc32(response.body)):
        raise InvalidResponse
    if response.status != OK:
        if 400 <= response.status <= 599:
            raise _error(operation, response)
        raise InvalidResponse(response.status)
    metadata, text = _metadata(response), _decode_text(response.body)
    name, cut = ITEM_CUT if operation == "GetItem" else OLD_ITEM_CUT
    text, item = cut(text) or (text, None)
    members = _parse_capacity(operation, text) if len(text) <= BESIDE_MAX else None
    if members is None:
        members = _parse_members(operation, text)
    if item is None:
        if (example := members.get(name)) is not None:
            forms.learn(example)
        return {**members, "ResponseMetadata": metadata}
    if name not in RESPONSES[operation].members:
        raise InvalidResponse
    return {**members, name: item, "ResponseMetadata": metadata}


def _parse_members(operation: str, text: str) -> dict[str, Any]:
    """Return the members of a response. One with a member of another operation is garbled."""
    __traceback_hide__ = True
    parsed, shape = _parse_json(text), RESPONSES[operation]
    members: dict[str, Any] = _read(shape, parsed)
    if not MEMBERS.isdisjoint(parsed.keys() - shape.members.keys()):
        raise InvalidResponse
    return members


@lru_cache(maxsize=64)  # Most responses have only this, in a few forms.
def _parse_capacity(operation: str, text: str) -> Mapping[str, Any] | None:
    """Return the members of a response, not to be changed, if they are the capacity alone."""
    __traceback_hide__ = True
    members = _parse_members(operation, text)
    return members if members.keys() == {"ConsumedCapacity"} else None


def _decode_text(body: bytes) -> str:
    __traceback_hide__ = True
    try:
        return body.decode()
    except UnicodeDecodeError:
        pass
    raise InvalidResponse  # Outside the handler: its error holds the body, as a JSON error does.


def _parse_json(text: str) -> Any:
    __traceback_hide__ = True
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        pass
    raise InvalidResponse


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object without repeated names, with bytes where it is a binary value.

    Only such a value is a text under `B` alone, so no second walk has to find them.
    """
    __traceback_hide__ = True
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InvalidResponse
    if len(made) == 1 and type(text := made.get("B")) is str:
        made["B"] = decode_base64(text)
    return made


def _constant(_name: str) -> Any:
    raise InvalidResponse  # NaN and Infinity are none of JSON's.


_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _decode(text: str) -> Any:
    """Return the value that a text is. Raises ValueError or RecursionError."""
    __traceback_hide__ = True
    value, end = _decoder.raw_decode(text)
    return value if end == len(text) else _decoder.decode(text)


def _read(shape: Shape, value: Any) -> Any:
    """Return a value of this shape as boto has it, without unknown fields."""
    __traceback_hide__ = True
    if shape is Leaf.ITEM:
        return read_item(value)
    if isinstance(shape, Leaf):
        return _of_type(_TYPES[shape], value)
    if isinstance(shape, ListOf):
        return [_read(shape.member, each) for each in _of_type((list,), value)]
    members = _of_type((dict,), value)
    if isinstance(shape, MapOf):
        return {name: _read(shape.member, each) for name, each in members.items()}
    return _fields(shape, members)


def _fields(shape: Structure, value: dict[str, Any]) -> dict[str, Any]:
    __traceback_hide__ = True
    known = shape.members
    return {
        name: _read(known[name], held)
        for name, held in value.items()
        if held is not None and name in known
    }


def _of_type(wanted: tuple[type, ...], value: Any) -> Any:
    if type(value) not in wanted:
        raise InvalidResponse
    return value


def _metadata(response: Response, *, with_id: bool = True) -> dict[str, Any]:
    """Return what boto tells about a response."""
    metadata: dict[str, Any] = {
        "HTTPStatusCode": response.status,
        "HTTPHeaders": response.headers,
        "RetryAttempts": 0,
    }
    if with_id and (request_id := response.headers.get("x-amzn-requestid")) is not None:
        metadata["RequestId"] = request_id
    return metadata


def _error(operation: str, response: Response) -> "ClientError":
    """Return the error that boto would raise."""
    __traceback_hide__ = True
    from botocore.exceptions import ClientError

    parsed: Any = _nameless(response) if _is_nameless(response) else _named(response)
    return ClientError(parsed, operation)


def _is_nameless(response: Response) -> bool:
    """Return True for a response of something in between, such as a load balancer."""
    body = response.body.strip()
    return response.status >= 500 and (not body or body.startswith(b"<html>"))


def _nameless(response: Response) -> dict[str, Any]:
    return {
        "Error": {"Code": str(response.status), "Message": _phrase(response.status)},
        "ResponseMetadata": _metadata(response, with_id=False),
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _named(response: Response) -> dict[str, Any]:
    __traceback_hide__ = True
    body = _error_body(response)
    error = {"Message": _of_type((str,), body.get("message", body.get("Message", "")))}
    code = _of_type((str,), body.get("__type", str(response.status)))
    # "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", or that and ":http://…"
    error["Code"] = code.split(":", 1)[0].rsplit("#", 1)[-1]
    _apply_query_error(response.headers.get("x-amzn-query-error", ""), error)
    parsed = {"Error": error, "ResponseMetadata": _metadata(response)}
    shape = ERRORS.get(error["Code"])
    return parsed if shape is None else {**parsed, **_fields(shape, body)}


def _error_body(response: Response) -> dict[str, Any]:
    """Return the fields of an error; the text is the message where it is not JSON."""
    __traceback_hide__ = True
    if not response.body:
        return {}
    text = _decode_text(response.body)
    try:
        body = _decode(text)
    except ValueError:
        body = {"message": text}
    except RecursionError:
        body = None
    fields: dict[str, Any] = _of_type((dict,), body)
    return fields


def _apply_query_error(header: str, error: dict[str, str]) -> None:
    """Apply the error's name in an older protocol, as boto does for every service."""
    name, separator, kind = header.partition(";")
    if name and separator and ";" not in kind:
        error.update(Code=name, QueryErrorCode=error["Code"], Type=kind)


def read_item(item: Any, depth: int = 0) -> Item:
    """Return an object if it is typed values under names. Raises InvalidResponse."""
    __traceback_hide__ = True
    if type(item) is not dict:
        raise InvalidResponse
    _check(item.values(), depth)
    return item


def _check(values: Iterable[Any], depth: int) -> None:
    """Raise InvalidResponse unless each value has one type, which fits its content."""
    __traceback_hide__ = True
    for value in values:
        if type(value) is not dict or len(value) != 1:
            raise InvalidResponse
        ((kind, held),) = value.items()
        wanted = _PLAIN_TYPES.get(kind)
        if wanted is None:
            value[kind] = _inner(kind, held, depth + 1)
        elif type(held) is not wanted:
            raise InvalidResponse


def _inner(kind: str, held: Any, depth: int) -> Any:
    """Return the content of a value that contains others."""
    __traceback_hide__ = True
    if kind == "M" and depth <= DEPTH_MAX:
        return read_item(held, depth)
    if type(held) is not list:
        raise InvalidResponse
    if kind == "L" and depth <= DEPTH_MAX:
        _check(held, depth)
        return held
    if kind not in {"SS", "NS", "BS"} or not all(type(each) is str for each in held):
        raise InvalidResponse
    return list(map(decode_base64, held)) if kind == "BS" else held
