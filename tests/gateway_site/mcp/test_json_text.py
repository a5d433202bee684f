"""I-JSON within bounds, and nothing else."""

import json
import sys
from time import thread_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_site.mcp import json_text
from gateway_site.mcp.json_text import (
    ARRAYS_MAX,
    BYTES_PER_OBJECT,
    DEPTH_MAX,
    NUMBER_MAX,
    TEXT_MAX,
    InvalidText,
    parse,
    write,
)
from tests.support.cases import each_case

MIB = 1024 * 1024
OBJECTS_MAX = TEXT_MAX // BYTES_PER_OBJECT

HOSTILE = {
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "invalid UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xa2"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a lone high surrogate": rb'"\ud83d"',
    "a lone low surrogate": rb'"\uDE00"',
    "surrogates in the wrong order": rb'"\ude00\ud83d"',
    "a lone surrogate in a name": rb'{"\ud83d": 1}',
    "a member twice": b'{"a": 1, "a": 1}',
    "a member twice, escaped": rb'{"a": 1, "\u0061": 1}',
    "a member twice, deep down": b'[{"a": [{"b": 1, "b": 2}]}]',
    "NaN": b"NaN",
    "Infinity": b'{"a": -Infinity}',
    "a leading zero": b"01",
    "a plus sign": b"+1",
    "no digit after the point": b"1.",
    "hexadecimal": b"0x1",
    "a long integer": b"1" * (NUMBER_MAX + 1),
    "a long fraction": b"0." + b"1" * (NUMBER_MAX - 1),
    "a long exponent": b"1e" + b"0" * (NUMBER_MAX - 1),
    "a comment": b"/**/1",
    "a comma at the end": b"[1,]",
    "two texts": b"{}{}",
    "a control character": b'"a\x00b"',
    "a NUL at the end": b"{}\x00",
    "another blank": b"\xc2\xa0{}",
    "nothing": b"",
    "too many levels": b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
    "too many levels of both kinds": b'[{"a":' * 33 + b"1" + b"}]" * 33,
    "too large": b'"' + b"a" * TEXT_MAX + b'"',
    # What would take minutes if any time were not linear.
    "only brackets": b"[" * MIB,
    "only escapes": b'"' + b'\\"' * (MIB // 2 - 1),
    "escapes after brackets": b"[" * 65 + b'"' + b'\\"' * (MIB // 2 - 64),
    "a million digits": b"1" * MIB,
}

# Parts of a string, of which some are halves of a character.
PARTS = [
    *(r"\ud83d", r"\uDBFF", r"\ude00", r"\uDfFf", r"\ud7ff", r"\ue000", r"\u0041", r"\u005c"),
    *(r"\\", r"\"", r"\/", r"\n", "u", "d83d", "😀"),
]


@each_case("data", HOSTILE.values(), ids=HOSTILE)
def test_text_that_parsers_may_read_differently_is_rejected(data: bytes) -> None:
    with pytest.raises(InvalidText) as rejected:
        parse(data)
    assert rejected.value.__context__ is None or rejected.value.__suppress_context__


def test_bounds_are_reached() -> None:
    assert parse(b"1" * NUMBER_MAX) == int("1" * NUMBER_MAX)
    assert parse(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    assert parse(b'["' + b"[" * 500 + rb'\"\\", ' + b"[]," * 500 + b"[]]")
    assert len(parse(b"[" + b"[]," * (ARRAYS_MAX - 2) + b"[]]")) == ARRAYS_MAX - 1
    assert parse(b'["' + b"[" * ARRAYS_MAX + b'"]')
    assert parse(b"[" + b"{}," * ARRAYS_MAX + b"{}]")
    assert len(parse(b"[" + b"{}," * (OBJECTS_MAX - 1) + b"{}]")) == OBJECTS_MAX
    assert parse(b'["' + b"{" * OBJECTS_MAX + b'", {}]')
    assert len(parse(b'"' + b"a" * (TEXT_MAX - 2) + b'"')) == TEXT_MAX - 2


def test_more_arrays_are_rejected() -> None:
    """While Python reads arrays alone, no other thread runs: a second for 4 MB of them."""
    with pytest.raises(InvalidText, match="arrays"):
        parse(b"[" + b"[]," * (ARRAYS_MAX - 1) + b"[]]")


def test_more_objects_are_rejected() -> None:
    """The garbage collector visits each of them, and no other thread runs meanwhile."""
    with pytest.raises(InvalidText, match="objects"):
        parse(b"[" + b"{}," * OBJECTS_MAX + b"{}]")


def test_object_of_many_members_is_made_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step, 380,000 members made all other threads wait for 35 ms."""
    monkeypatch.setattr(json_text, "MEMBERS_AT_ONCE", 3)
    for count in range(11):
        members = {str(number): number for number in range(count)}
        assert list(parse(json.dumps(members).encode()).items()) == list(members.items())
        for number in range(count):
            with pytest.raises(InvalidText, match="twice"):
                parse(json.dumps(members).replace("{", f'{{"{number}": 0, ').encode())


@pytest.mark.parametrize("inner", ['"]"', "[[]]", '["[",{"}":"\\\\"}]', '[{},["\\"[",[]]]', "[{}]"])
def test_levels_are_counted_outside_of_strings(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def levels(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(levels, inner), default=0) if isinstance(value, list | dict) else 0

    monkeypatch.setattr(json_text, "SLICE", 3)
    more = DEPTH_MAX - levels(json.loads(inner))
    assert parse(b"[" * more + inner.encode() + b"]" * more)
    for start, end in ((b"[", b"]"), (b'{"[\\"":', b"}")):
        with pytest.raises(InvalidText, match="levels"):
            parse(start + b"[" * more + inner.encode() + b"]" * more + end)


def test_no_step_of_counting_levels_makes_other_threads_wait_long() -> None:
    """One step of the regular expression that was used before took more time than all of this."""
    steps, begun = [0.0], list[float]()

    def watch(_: object, event: str, __: object) -> None:
        if event == "c_call":
            begun.append(thread_time())
        elif event == "c_return" and begun:
            steps.append(thread_time() - begun.pop())

    begin = thread_time()
    json.loads(b"[" + b"0," * (MIB // 2) + b"0]")
    reading = thread_time() - begin
    sys.setprofile(watch)
    try:
        json_text.is_too_deep(b'["",' * (MIB // 4))
    finally:
        sys.setprofile(None)
    assert max(steps) < reading


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_half_of_a_character_is_rejected_and_a_whole_one_is_not(parts: str) -> None:
    text = f'{{"{parts}": ["{parts}"]}}'
    try:
        json.dumps(expected := json.loads(text), ensure_ascii=False).encode()
    except UnicodeError:
        with pytest.raises(InvalidText, match="half of a character"):
            parse(text.encode())
    else:
        assert parse(text.encode()) == expected


def test_half_of_a_character_is_found_without_encoding_the_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While Python encodes numbers, no other thread runs: 0.1 seconds for 4 MB of them."""
    monkeypatch.setattr(json, "dumps", None)
    assert parse(rb'["\ud83d\ude00", 1.5]') == ["\U0001f600", 1.5]


@settings(max_examples=40)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**60), 10**60)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_every_value_is_read_and_written_again(value: Any) -> None:
    for is_ascii in (True, False):
        text = json.dumps(value, ensure_ascii=is_ascii)
        found = parse(text.encode())
        assert found == value
        assert json.loads(write(found)) == value


@each_case(
    "text",
    ["-0", "0.10", "1E+2", "1e400", "-0.0", "100000000000000000000000000000000", "1.0e-05"],
)
def test_number_is_written_as_it_was(text: str) -> None:
    assert write(parse(f'{{"a": [{text}]}}'.encode())) == f'{{"a":[{text}]}}'
