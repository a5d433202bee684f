"""An answer of DynamoDB: what boto's client would return of it, or the error that it would raise.

An operation's name and an HTTP answer enter. What boto would make the best of (base64 with
other letters, a name twice, a text for a number) is refused: an answer is read as boto reads
it, or not at all.
"""

import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from sessions_kms.aws.http1.answer import Answer
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.wire import base64_text
from sessions_kms.aws.wire.attribute_values import read_item
from sessions_kms.aws.wire.compact import BESIDE_MAX, with_item_last, with_old_item_first
from sessions_kms.aws.wire.shapes import (
    ANSWERS,
    ERRORS,
    MEMBERS,
    Leaf,
    ListOf,
    MapOf,
    Shape,
    Structure,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

OK: Final = 200  # as a number: to ask HTTPStatus for it takes a function of Python's
GET_ITEM: Final = "GetItem"
ITEM_CUT: Final = "Item", with_item_last
OLD_ITEM_CUT: Final = "Attributes", with_old_item_first

_TYPES: Final = {
    Leaf.TEXT: (str,),
    Leaf.FLAG: (bool,),
    Leaf.WHOLE: (int,),
    Leaf.NUMBER: (int, float),
}


def read(operation: str, answer: Answer) -> dict[str, Any]:
    """Return what an answer says. Raises botocore's ClientError, or GarbledAnswer."""
    __traceback_hide__ = True
    told = answer.headers.get("x-amz-crc32")
    if told is not None and told != str(zlib.crc32(answer.body)):
        raise GarbledAnswer
    if answer.status != OK:
        if 400 <= answer.status <= 599:
            raise _error(operation, answer)
        raise GarbledAnswer(answer.status)
    said = _said(operation, answer.body)
    said["ResponseMetadata"] = _metadata(answer)
    return said


def _said(operation: str, body: bytes) -> dict[str, Any]:
    __traceback_hide__ = True
    text = _text(body)
    name, cut = ITEM_CUT if operation == GET_ITEM else OLD_ITEM_CUT
    text, item = cut(text) or (text, None)
    said = _consumed(operation, text) if len(text) <= BESIDE_MAX else None
    if said is None:
        said = _members(operation, text)
    if item is None:
        return dict(said)
    if name not in ANSWERS[operation].members:
        raise GarbledAnswer
    return {**said, name: item}


def _members(operation: str, text: str) -> dict[str, Any]:
    """Return the members of an answer. One with a member of another operation is garbled."""
    __traceback_hide__ = True
    parsed, shape = _parsed(text), ANSWERS[operation]
    said: dict[str, Any] = _read(shape, parsed)
    if not MEMBERS.isdisjoint(parsed.keys() - shape.members.keys()):
        raise GarbledAnswer
    return said


@lru_cache(maxsize=64)  # Most answers say this and no more, in a few ways.
def _consumed(operation: str, text: str) -> Mapping[str, Any] | None:
    """Return what an answer says, to be looked at, if that is what was consumed and no more."""
    __traceback_hide__ = True
    said = _members(operation, text)
    return said if said.keys() == {"ConsumedCapacity"} else None


def _text(body: bytes) -> str:
    __traceback_hide__ = True
    try:
        return body.decode()
    except UnicodeDecodeError:
        pass
    raise GarbledAnswer  # Outside the handler: its error holds the body, as a JSON error does.


def _parsed(text: str) -> Any:
    __traceback_hide__ = True
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        pass
    raise GarbledAnswer


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object that has no name twice, with bytes where it is a binary value.

    Only such a value is a text under `B` alone; so no second walk has to find them.
    """
    __traceback_hide__ = True
    made = dict(pairs)
    if len(made) != len(pairs):
        raise GarbledAnswer
    if len(made) == 1 and type(text := made.get("B")) is str:
        made["B"] = base64_text.read(text)
    return made


def _constant(_name: str) -> Any:
    raise GarbledAnswer  # NaN and Infinity are none of JSON's.


_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _decode(text: str) -> Any:
    """Return the value that a text is. Raises ValueError or RecursionError."""
    __traceback_hide__ = True
    value, end = _decoder.raw_decode(text)
    return value if end == len(text) else _decoder.decode(text)


def _read(shape: Shape, value: Any) -> Any:
    """Return what boto makes of a value of this shape: fields that it does not know are dropped."""
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
        raise GarbledAnswer
    return value


def _metadata(answer: Answer, *, with_id: bool = True) -> dict[str, Any]:
    """Return what boto tells about an answer."""
    told: dict[str, Any] = {
        "HTTPStatusCode": answer.status,
        "HTTPHeaders": answer.headers,
        "RetryAttempts": 0,
    }
    if with_id and (request_id := answer.headers.get("x-amzn-requestid")) is not None:
        told["RequestId"] = request_id
    return told


def _error(operation: str, answer: Answer) -> "ClientError":
    """Return the error that boto would raise."""
    __traceback_hide__ = True
    from botocore.exceptions import ClientError

    response: Any = _nameless(answer) if _is_nameless(answer) else _named(answer)
    return ClientError(response, operation)


def _is_nameless(answer: Answer) -> bool:
    """Tell whether something between has answered, a load balancer say."""
    body = answer.body.strip()
    return answer.status >= 500 and (not body or body.startswith(b"<html>"))


def _nameless(answer: Answer) -> dict[str, Any]:
    return {
        "Error": {"Code": str(answer.status), "Message": _phrase(answer.status)},
        "ResponseMetadata": _metadata(answer, with_id=False),
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _named(answer: Answer) -> dict[str, Any]:
    __traceback_hide__ = True
    body = _error_body(answer)
    error = {"Message": _of_type((str,), body.get("message", body.get("Message", "")))}
    code = _of_type((str,), body.get("__type", str(answer.status)))
    # "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", or that and ":http://…"
    error["Code"] = code.split(":", 1)[0].rsplit("#", 1)[-1]
    _take_query_error(answer.headers.get("x-amzn-query-error", ""), error)
    told = {"Error": error, "ResponseMetadata": _metadata(answer)}
    shape = ERRORS.get(error["Code"])
    return told if shape is None else {**told, **_fields(shape, body)}


def _error_body(answer: Answer) -> dict[str, Any]:
    """Return the fields of an error; of one that is not JSON, its text is all of the message."""
    __traceback_hide__ = True
    if not answer.body:
        return {}
    text = _text(answer.body)
    try:
        body = _decode(text)
    except ValueError:
        body = {"message": text}
    except RecursionError:
        body = None
    fields: dict[str, Any] = _of_type((dict,), body)
    return fields


def _take_query_error(told: str, error: dict[str, str]) -> None:
    """Take the name that an error had in a protocol of old, as boto does for every service."""
    name, separator, kind = told.partition(";")
    if name and separator and ";" not in kind:
        error.update(Code=name, QueryErrorCode=error["Code"], Type=kind)
