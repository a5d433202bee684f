"""A head like the last one is read as any head is read, and nothing else is taken for one."""

import random

import pytest

from sessions_kms.aws.http_client import response
from sessions_kms.aws.http_client.body import BODY_MAX, InvalidResponse
from sessions_kms.aws.http_client.response import (
    HEAD_MAX,
    LEARNT_MAX,
    LETTERS_MAX,
    HeadTemplate,
    Response,
    ResponseReader,
)
from tests.sessions_kms.aws.http_client.responses import ALL, SIZED, answer
from tests.sessions_kms.aws.http_client.test_against_http_client import EXAMPLES, altered

LENGTH = b"Content-Length: 2"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> HeadTemplate:
    made = HeadTemplate()
    monkeypatch.setattr(response, "template", made)
    return made


def read(data: bytes) -> Response | type[InvalidResponse] | None:
    try:
        return ResponseReader().receive_data(data)
    except InvalidResponse:
        return InvalidResponse


def is_known(known: HeadTemplate, data: bytes) -> bool:
    return known.match(data.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n") is not None


def unknown(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> Response | type[InvalidResponse] | None:
    with monkeypatch.context() as patch:
        patch.setattr(response, "template", HeadTemplate())
        return read(data)


def test_head_is_recognised_after_its_first_parse(known: HeadTemplate) -> None:
    assert not is_known(known, SIZED)
    first = read(SIZED)
    assert is_known(known, SIZED)
    assert read(SIZED) == first
    another = SIZED.replace(b"ABC", b"D:E \xe9\t").replace(b"2745614147", b"1")
    assert is_known(known, another)
    found = read(another)
    assert isinstance(found, Response)
    assert found.headers["x-amzn-requestid"] == "D:E \xe9\t"


@pytest.mark.parametrize("whole", [each for each in ALL if each is not SIZED])
def test_what_is_no_plain_answer_is_not_known(whole: bytes, known: HeadTemplate) -> None:
    read(whole)
    assert is_known(known, whole) is False


@pytest.mark.parametrize(
    "headers",
    [
        (LENGTH, b"Connection: close"),
        (LENGTH, b"Vary: a", b"vary: b"),
        (b"Transfer-Encoding: chunked",),
    ],
)
def test_head_with_additional_fields_does_not_match(
    headers: tuple[bytes, ...], known: HeadTemplate
) -> None:
    read(answer(*headers))
    assert not is_known(known, answer(*headers))


@pytest.mark.parametrize(
    ("known_as", "then"),
    [
        ((LENGTH, b"Connection: keep-alive"), (LENGTH, b"Connection: close")),
        ((LENGTH, b"X: a"), (LENGTH, b"X : a")),
        ((LENGTH, b"X: a"), (LENGTH, b"X: a\0")),
        ((LENGTH, b"X: a"), (LENGTH, b"X: a\nY: b")),
        ((LENGTH, b"X: a"), (LENGTH, b"X: a\r\n b")),
        ((LENGTH, b"X: a"), (LENGTH, b"X: a", b"Content-Length: 1")),
        ((LENGTH, b"X: a"), (LENGTH, b"Transfer-Encoding: chunked")),
        ((LENGTH,), (b"Content-Length: +2",)),
        ((LENGTH,), (b"Content-Length: 2 ",)),
        ((LENGTH,), (b"Content-Length: \xb2",)),
        ((LENGTH,), (b"Content-Length: 00000000002",)),
        ((LENGTH,), (b"Content-Length: %d" % (BODY_MAX + 1),)),
    ],
)
def test_differing_head_is_parsed_as_without_a_template(
    known_as: tuple[bytes, ...],
    then: tuple[bytes, ...],
    known: HeadTemplate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read(answer(*known_as))
    assert is_known(known, answer(*known_as))
    assert read(answer(*then)) == unknown(answer(*then), monkeypatch)


def test_bounds_apply_to_matching_heads_in_one_piece(known: HeadTemplate) -> None:
    read(answer(LENGTH, b"X: a"))
    long = answer(LENGTH, b"X: " + b"a" * HEAD_MAX)
    large = answer(b"Content-Length: %d" % (BODY_MAX + 1), b"X: a", body=bytes(BODY_MAX + 1))
    for each in (long, large):
        assert is_known(known, each)
        assert read(each) is InvalidResponse


def test_altered_responses_are_parsed_as_without_a_template(
    known: HeadTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(SIZED)
    pattern, taken = known._known, 0
    for _ in range(EXAMPLES):
        data = altered()
        taken += is_known(known, data)
        assert read(data) == unknown(data, monkeypatch), data
        known._known = pattern  # whatever else was learnt meanwhile
    assert taken > EXAMPLES / 50


@pytest.mark.parametrize(("size", "is_learnt"), [(LETTERS_MAX, True), (LETTERS_MAX + 1, False)])
def test_no_pattern_is_made_of_a_long_head(size: int, is_learnt: bool, known: HeadTemplate) -> None:
    """That takes a thread, or an event loop, a tenth of a second, where `head` takes none."""
    short = answer(LENGTH, b"X: a")
    head = short.index(b"\r\n\r\n") + 2
    long = short.replace(b"X", b"X" * (size - head + 1))
    assert isinstance(read(long), Response)
    assert is_known(known, long) == is_learnt
    assert isinstance(read(short), Response)
    assert is_known(known, short)


def test_constantly_changing_headers_create_no_more_patterns(known: HeadTemplate) -> None:
    names = [b"X-%d: a" % number for number in range(LEARNT_MAX + 1)]
    random.shuffle(names)
    for name in names:
        assert isinstance(read(answer(LENGTH, name)), Response)
    assert not is_known(known, answer(LENGTH, names[-1]))
    assert is_known(known, answer(LENGTH, names[-2]))
    assert read(answer(LENGTH, names[-1])) == read(answer(LENGTH, names[-1]))
