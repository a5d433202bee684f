"""Base64 is the same by Python and by pybase64, whichever of them is asked."""

import random
import string
from binascii import b2a_base64
from collections.abc import Callable

import pybase64
import pytest

from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.wire import base64_text
from sessions_kms.aws.wire.base64_text import LARGE

LETTERS = string.ascii_letters + string.digits + "+/"


@pytest.fixture(params=["by Python", "by pybase64"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    way = None if request.param == "by Python" else pybase64
    monkeypatch.setattr(base64_text, "pybase64", way)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("size", [0, 1, 2, 3, LARGE - 1, LARGE, LARGE + 1, LARGE + 2, 400_000])
def test_bytes_come_back(size: int) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311 - to be told again
    text = base64_text.written(data)
    assert text == base64_text.written(bytearray(data)) == b2a_base64(data, newline=False).decode()
    assert base64_text.read(text) == data


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("size", [0, LARGE])
@pytest.mark.parametrize(
    "end",
    [
        *("=", "A", "AA", "AAA", "AA=", "A===", "====", "AA==AAAA", "AA==AA==", "A=AA", "=AAA"),
        *("AA A", "AAA\n", "AAAA\n", "AAA\r\n", " AAA", "QU-_", "AAÄA", "AA\0A", "AAA\x80", "AAA="),
        "AB==",
    ],
)
def test_what_is_not_base64_is_refused(size: int, end: str) -> None:
    refused = end not in {"AAA=", "AB=="}  # bits that stand for nothing may be set
    read: Callable[[], bytes] = lambda: base64_text.read("A" * size + end)  # noqa: E731
    if refused:
        with pytest.raises(GarbledAnswer):
            read()
    else:
        assert len(read()) == size // 4 * 3 + (2 if end == "AAA=" else 1)


def test_both_read_a_damaged_text_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(64)  # noqa: S311 - to be told again
    for _ in range(3000):
        text = list(b2a_base64(chance.randbytes(LARGE), newline=False).decode())
        for _ in range(chance.randint(0, 2)):
            text[chance.randrange(len(text))] = chance.choice(LETTERS + "==-_\n \0é")
        told: list[bytes | None] = []
        for way in (pybase64, None):
            monkeypatch.setattr(base64_text, "pybase64", way)
            try:
                told.append(base64_text.read("".join(text)))
            except GarbledAnswer:
                told.append(None)
        assert told[0] == told[1]
