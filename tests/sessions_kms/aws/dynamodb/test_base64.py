"""Base64 is the same as Python's, although pybase64 encodes and decodes large values."""

import random
import string
from binascii import Error, a2b_base64, b2a_base64

import pytest

from sessions_kms.aws.dynamodb.compact_json import LARGE, decode_base64
from sessions_kms.aws.dynamodb.request_json import encode_base64
from sessions_kms.aws.http_client.body import InvalidResponse
from tests.support.cases import each_case

LETTERS = string.ascii_letters + string.digits + "+/"


@each_case("size", [0, 1, 2, 3, LARGE - 1, LARGE, LARGE + 1, LARGE + 2, 400_000])
def test_bytes_come_back(size: int) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311 - to be told again
    text = encode_base64(data)
    assert text == encode_base64(bytearray(data)) == b2a_base64(data, newline=False).decode()
    assert decode_base64(text) == data


@each_case("size", [0, LARGE])
@each_case(
    "end",
    [
        *("=", "A", "AA", "AAA", "AA=", "A===", "====", "AA==AAAA", "AA==AA==", "A=AA", "=AAA"),
        *("AA A", "AAA\n", "AAAA\n", "AAA\r\n", " AAA", "QU-_", "AAÄA", "AA\0A", "AAA\x80", "AAA="),
        "AB==",
    ],
)
def test_what_is_not_base64_is_refused(size: int, end: str) -> None:
    refused = end not in {"AAA=", "AB=="}  # bits that stand for nothing may be set
    text = "A" * size + end
    if refused:
        with pytest.raises(InvalidResponse):
            decode_base64(text)
    else:
        assert len(decode_base64(text)) == size // 4 * 3 + (2 if end == "AAA=" else 1)


def decode_by_python(text: str) -> bytes | None:
    try:
        return a2b_base64(text, strict_mode=True)
    except (Error, ValueError):
        return None


def test_damaged_text_is_read_as_python_reads_it() -> None:
    chance = random.Random(64)  # noqa: S311 - to be told again
    for _ in range(3000):
        text = list(b2a_base64(chance.randbytes(LARGE), newline=False).decode())
        for _ in range(chance.randint(0, 2)):
            text[chance.randrange(len(text))] = chance.choice(LETTERS + "==-_\n \0é")
        try:
            found = decode_base64("".join(text))
        except InvalidResponse:
            found = None
        assert found == decode_by_python("".join(text))
