"""Base64 is the same by Python and by pybase64, whichever of them is asked."""

import random
import string
import sys
from binascii import b2a_base64
from importlib.util import find_spec, module_from_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pybase64
import pytest

from sessions_kms.aws.dynamodb import compact_json, request_json
from sessions_kms.aws.dynamodb.compact_json import LARGE
from sessions_kms.aws.http_client.body import InvalidResponse

LETTERS = string.ascii_letters + string.digits + "+/"


def without_pybase64(name: str) -> ModuleType:
    """Return a module as it is where pybase64 is not installed."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pybase64", None)
        spec.loader.exec_module(made)
    return made


def functions(decoding: Any, encoding: Any) -> SimpleNamespace:
    return SimpleNamespace(
        encode=encoding.encode_base64,
        decode=decoding.decode_base64,
        decode_each=decoding.decode_each,
        decode_large=decoding._decode_large,
        pybase64=encoding.pybase64,
    )


WAYS = {
    "by Python": functions(*map(without_pybase64, (compact_json.__name__, request_json.__name__))),
    "by pybase64": functions(compact_json, request_json),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    return WAYS[request.param]


def test_each_way_is_the_one_that_it_is_called() -> None:
    assert WAYS["by Python"].pybase64 is None
    assert WAYS["by Python"].decode_large.func.__module__ == "binascii"
    assert WAYS["by pybase64"].decode_large.func is pybase64.b64decode


@pytest.mark.parametrize("size", [0, 1, 2, 3, LARGE - 1, LARGE, LARGE + 1, LARGE + 2, 400_000])
def test_bytes_come_back(size: int, way: Any) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311 - to be told again
    text = way.encode(data)
    assert text == way.encode(bytearray(data)) == b2a_base64(data, newline=False).decode()
    assert way.decode(text) == data
    assert way.decode_each([text, "QQ==", text]) == [data, b"A", data]


@pytest.mark.parametrize("size", [0, LARGE])
@pytest.mark.parametrize(
    "end",
    [
        *("=", "A", "AA", "AAA", "AA=", "A===", "====", "AA==AAAA", "AA==AA==", "A=AA", "=AAA"),
        *("AA A", "AAA\n", "AAAA\n", "AAA\r\n", " AAA", "QU-_", "AAÄA", "AA\0A", "AAA\x80", "AAA="),
        "AB==",
    ],
)
def test_what_is_not_base64_is_refused(size: int, end: str, way: Any) -> None:
    refused = end not in {"AAA=", "AB=="}  # bits that stand for nothing may be set
    text = "A" * size + end
    if refused:
        with pytest.raises(InvalidResponse):
            way.decode(text)
        with pytest.raises(InvalidResponse):
            way.decode_each(["QQ==", text])
    else:
        assert len(way.decode(text)) == size // 4 * 3 + (2 if end == "AAA=" else 1)
        assert way.decode_each([text]) == [way.decode(text)]


def test_both_read_a_damaged_text_alike() -> None:
    chance = random.Random(64)  # noqa: S311 - to be told again
    for _ in range(3000):
        text = list(b2a_base64(chance.randbytes(LARGE), newline=False).decode())
        for _ in range(chance.randint(0, 2)):
            text[chance.randrange(len(text))] = chance.choice(LETTERS + "==-_\n \0é")
        told: list[list[bytes] | None] = []
        for way in WAYS.values():
            try:
                told.append(way.decode_each(["".join(text)]))
            except InvalidResponse:
                told.append(None)
        assert told[0] == told[1]
