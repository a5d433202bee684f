"""Event streams: whole events only, wherever they are cut, as clients read them."""

import re

import pytest

from gateway_site.mcp.events import EVENT_MAX, LINES_MAX, Event, EventReader, UnreadableEvent
from tests.gateway_site.mcp.other_parsers import parse_by_specification
from tests.support.cases import each_case

STREAMS = {
    "LF": b": hello\n\nid: 1\ndata: a\n\nevent: x\ndata: b\ndata:c\n\n:\n\ndata\n\nretry: 5\n\n",
    "CRLF": b":\r\nid: 1\r\ndata: a\r\n\r\nevent: x\r\ndata: b\r\ndata:  c\r\n\r\n: ping\r\n\r\n",
    "CR": b":\rid: 1\rdata: a\r\revent: x\rdata: b\r: within\rdata:c\r\r",
    "other fields": b"other: b\ndata: a\nX\r\nid: 1\n\nData: a\r\rdata : x\n\n:\n data: x\r\n\r\n",
    "other fields between CR and LF": b"data: a\rX: b\n\ndata: a\rX: b\r\n\ndata: b\r\n\n",
    "separators": 'data: {"a": "\x85\u2028\u2029"}\n: \u2028\n\n: \x85\ndata: é\u2028\r\r'.encode(),
    "a mark at the start": b"\xef\xbb\xbfdata: a\n\n",
    "mixed": b"data: a\r\ndata: b\rdata: c\n\r\n\rdata: d\r\r\n\n\ndata: \xe2\x80\xa8\n\n",
}


def escape(events: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return events with the escapes of what ends a line for some clients."""
    table = {ord(each): f"\\u{ord(each):04x}" for each in "\x85\u2028\u2029"}
    return [(kind, data.translate(table)) for kind, data in events]


def read(reader: EventReader, data: bytes) -> tuple[bytes, list[Event]]:
    """Return the bytes that are passed on, and the events among them."""
    found = list(reader.feed(data))
    passed = b"".join(each.passing if isinstance(each, Event) else each for each in found)
    return passed, [each for each in found if isinstance(each, Event)]


def with_data(events: list[Event]) -> list[tuple[str, str]]:
    return [(each.type, each.data.decode()) for each in events if each.data]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_stream_cut_anywhere_is_read_and_stays_the_same_to_clients(stream: bytes) -> None:
    expected = parse_by_specification(stream)
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1, 3):
            reader, passed, events = EventReader(), b"", list[Event]()
            for piece in (stream[:first], stream[first:second], stream[second:]):
                found = read(reader, piece)
                passed, events = passed + found[0], events + found[1]
            assert reader.is_between_events
            assert parse_by_specification(passed) == escape(expected)
            assert with_data(events) == [pair for pair in expected if pair[1]]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_stream_that_ends_anywhere_has_passed_whole_events_only(stream: bytes) -> None:
    """What has passed, a client reads as complete: also with an empty line added to it."""
    for end in range(len(stream) + 1):
        reader, passed = EventReader(), b""
        for at in range(end):
            passed += read(reader, stream[at : at + 1])[0]
        found = parse_by_specification(passed)
        assert found == escape(parse_by_specification(stream))[: len(found)]
        assert found == parse_by_specification(passed + b"\n\n")
        *lines, rest = re.split(rb"\r\n|\n|\r", stream[:end])
        begun = lines[max((at + 1 for at, each in enumerate(lines) if not each), default=0) :]
        is_between = not rest and all(each.startswith(b":") for each in begun)
        assert reader.is_between_events == is_between


EXACTLY = {
    b": hello\n\n:a\r\n:\r: b\r\r": b":\n\n:\r\n:\r:\r\r",
    b"id: 1\n: x\ndata:a\r\n:\r\nretry: 5\r\r": b"id: 1\n:\ndata:a\r\n:\r\nretry: 5\r\r",
    b"a: b\ndata: c\nData: d\ndata : e\n data: f\n\n": b"data: c\n\n",
    b"a: b\n\ndata\x00: c\n\n": b"\n\n",
    b"data: a\r\nX: b\r\ndata: c\r\n\r\n": b"data: a\r\ndata: c\r\n\r\n",
    '{"\x85\u2028\u2029\u2027é"}'.join(["data: ", "\n\n"]).encode(): (
        'data: {"\\u0085\\u2028\\u2029\u2027é"}\n\n'.encode()
    ),
    b"event: x y~\nid\nid:  2\ndata:  a b \n\n": b"event: x y~\nid\nid:  2\ndata:  a b \n\n",
}


@each_case(("stream", "passing"), EXACTLY.items())
def test_what_is_not_named_by_the_rules_passes_byte_for_byte(stream: bytes, passing: bytes) -> None:
    assert read(EventReader(), stream)[0] == passing
    pieces = EventReader()
    found = [read(pieces, stream[at : at + 1])[0] for at in range(len(stream))]
    assert b"".join(found) == passing


UNREADABLE = {
    **{
        f"{field} with {character!r}": f"{field}: 1{character}\n\n".encode()
        for field in ("event", "id", "retry")
        for character in "\x00\x09\x0b\x1c\x7f\x85\u2028é"
    },
    "invalid UTF-8": b"data: \xff\n\n",
    "too large": b"data: " + b"a" * EVENT_MAX + b"\n\n",
    "too many lines": b"data:\n" * (EVENT_MAX // 6 + 1),
    "a line without an end": b":" + b"a" * EVENT_MAX,
}


@each_case("stream", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_event_ends_the_stream(stream: bytes) -> None:
    before = b": hello\n\ndata: before\n\n"
    reader, passed = EventReader(), b""
    with pytest.raises(UnreadableEvent):  # noqa: PT012 - in any of the pieces
        for at in range(0, len(before + stream), 65536):
            for found in reader.feed((before + stream)[at : at + 65536]):
                passed += found.passing if isinstance(found, Event) else found
    assert passed == before.replace(b" hello", b"")


@each_case("between", [b"\n", b"\r\n", b"\r", b":\n", b": a\r", b"\r\r\n:\r\n"])
def test_what_is_between_events_is_read_in_one_step_wherever_it_is_cut(between: bytes) -> None:
    """One step for each line took half a second for what arrives at once."""
    stream = between * 1000 + b"data: a\n\n" + between * 1000
    steps = list(EventReader().feed(stream))
    assert len(steps) <= 6
    for cut in range(len(between) * 3):
        reader = EventReader()
        passed, events = read(reader, stream[:cut])
        more, found = read(reader, stream[cut:])
        assert passed + more == stream.replace(b" a\r", b"\r")
        assert [each.data for each in events + found] == [b"a"]


def test_event_of_endless_lines_is_too_large() -> None:
    reader = EventReader()
    assert read(reader, b"data\n" * LINES_MAX + b"\n")[1]
    with pytest.raises(UnreadableEvent):
        read(reader, b"data\n" * (LINES_MAX + 1))


def test_largest_event_arrives_byte_by_byte_in_linear_time() -> None:
    reader = EventReader()
    head = b"data: " + b"a" * (EVENT_MAX - 8 - 50_000)
    assert read(reader, head) == (b"", [])
    for _ in range(50_000):
        assert read(reader, b"a") == (b"", [])
    [event] = read(reader, b"\n\n")[1]
    assert len(event.passing) == EVENT_MAX


def test_other_data_keep_the_other_fields() -> None:
    [event] = read(EventReader(), b"id: 7\r\ndata: a\r\nevent: message\r\ndata: b\r\n\r\n")[1]
    assert event.with_data("{}") == b"id: 7\nevent: message\ndata: {}\n\n"
