"""Event streams that end when the server stops: after a whole event, wherever the bytes are cut."""

import contextlib
from typing import Any, cast

import pytest
import requests

from gateway_site.forwarding.calls.event_stream import EventStream, StreamCut, has_readable_events
from gateway_site.transport.connection import Response
from tests.gateway_site.support.gateways import Gateway

EVENTS = {
    "LF": [b": hello\n\n", b"id: 1\ndata: a\n\n", b"data: \xff\n\n"],
    "CRLF": [b": hello\r\n\r\n", b"id: 1\r\ndata: a\r\n\r\n", b"data: \xff\r\n\r\n"],
    "CR": [b": hello\r\r", b"id: 1\rdata: a\r\r", b"data: \xff\r\r"],
    "mixed": [b": hello\r\n\n", b"id: 1\rdata: a\n\r\n", b"data: \xff\n\n"],
    "empty lines between": [b": hello\n\n", b"\n", b"data: a\n\n", b"\n", b"\n", b"data: b\n\n"],
}


class Upstream:
    """A response that arrives in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces = list(pieces)
        self.woken = 0

    @property
    def has_ended(self) -> bool:
        return not self.pieces

    def wake(self) -> None:
        self.woken += 1
        self.pieces.insert(0, b"")

    async def read_piece(self, seconds: float) -> bytes:
        return self.pieces.pop(0)


def read_as_stream(upstream: Upstream, *, has_result: bool = False) -> EventStream:
    return EventStream(cast("Response", upstream), has_result=has_result)


async def read_stream(stream: EventStream, *, end_before: int = -1) -> bytes:
    """Return what the client gets if the stream is ended before a piece."""
    found, number = b"", 0
    while not stream.has_ended:
        if number == end_before:
            stream.end()
        found += await stream.read_piece(1)
        number += 1
    return found


def whole_events(events: list[bytes], size: int) -> bytes:
    """Return the fewest whole events that have at least so many bytes."""
    found = b""
    for event in events:
        if len(found) >= size:
            break
        found += event
    return found


@pytest.mark.parametrize("events", EVENTS.values(), ids=EVENTS)
async def test_stream_that_must_end_does_so_after_the_event_that_has_begun(
    events: list[bytes],
) -> None:
    sent = b"".join(events)
    for cut in range(len(sent) + 1):
        for size in (1, 3, len(sent)):
            rest = [sent[at : at + size] for at in range(cut, len(sent), size)]
            before = [sent[at : at + 1] for at in range(cut)]
            stream = read_as_stream(Upstream(*before, *rest, b""))
            found = await read_stream(stream, end_before=cut)
            expected = whole_events(events, cut)
            # The LF of a CRLF that arrives apart belongs to an event that was over at the CR.
            assert found in {expected, expected.removesuffix(b"\n")}, (cut, size)


async def test_stream_that_may_go_on_is_passed_on_as_it_is() -> None:
    sent = [b"data: a\n", b"\nda", b"ta: b\n\n", b""]
    assert await read_stream(read_as_stream(Upstream(*sent))) == b"".join(sent)


async def test_silent_stream_is_woken_and_ends_at_once() -> None:
    upstream = Upstream(b"data: a\n\n", b"data: never\n\n")
    stream = read_as_stream(upstream)
    await stream.read_piece(1)
    stream.end()
    assert upstream.woken == 1
    assert await stream.read_piece(1) == b""
    assert stream.has_ended


async def test_stream_whose_result_is_missing_does_not_look_complete() -> None:
    stream = read_as_stream(Upstream(b"data: half\n\n", b"data: result\n\n"), has_result=True)
    await stream.read_piece(1)
    stream.end()
    assert await stream.read_piece(1) == b""
    assert not stream.has_ended
    with pytest.raises(StreamCut):
        await stream.read_piece(1)


async def test_result_that_comes_with_the_end_of_its_response_is_not_dropped() -> None:
    for before in (b"data: half\n\n", b"data: ha"):
        rest = b"data: half\n\ndata: result\n\n".removeprefix(before)
        upstream = Upstream(before, rest)
        stream = read_as_stream(upstream, has_result=True)
        found = await stream.read_piece(1)
        stream.end()
        upstream.pieces.remove(b"")  # The rest arrives before the stream has noticed.
        found += await stream.read_piece(1)
        assert (found, stream.has_ended) == (before + rest, True)


@pytest.mark.parametrize(
    ("headers", "readable"),
    [
        ([(b"content-type", b"Text/Event-Stream; charset=utf-8")], True),
        ([(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")], False),
        ([(b"content-type", b"text/event-stream"), (b"content-length", b"100")], False),
        ([(b"content-type", b"application/json")], False),
        ([], False),
    ],
)
def test_streams_may_end_early_where_events_can_be_seen_and_no_length_is_promised(
    headers: list[tuple[bytes, bytes]], readable: bool
) -> None:
    response = Upstream()
    response.headers = headers
    assert has_readable_events(cast("Response", response)) is readable


@pytest.fixture
def stopping(gateway: Gateway) -> Any:
    """Return what tells the gateway's streams that its server stops, without stopping it."""
    yield lambda which: gateway.control(f"shutdown/{which}")
    gateway.control("shutdown/none")


def test_stop_ends_a_get_as_if_complete_and_a_post_only_when_its_time_is_over(
    gateway: Gateway, stopping: Any
) -> None:
    url = f"{gateway.url}/gateway/echo/events?case=stopped"
    with (
        gateway.writer() as client,
        client.get(url, stream=True, timeout=20) as stream,
        client.post(url, stream=True, timeout=20) as call,
    ):
        lines, results = stream.iter_lines(chunk_size=1), call.iter_lines(chunk_size=1)
        assert [next(lines) for _ in range(3)] == [next(results) for _ in range(3)]
        stopping("streams")
        assert list(lines) == []
        assert gateway.state()["open streams stopped"] == 1
        stopping("results")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(results)


def test_stream_that_begins_when_the_server_stops_ends_before_its_next_event(
    gateway: Gateway, stopping: Any
) -> None:
    stopping("streams")
    with contextlib.closing(gateway.get("echo/events?count=2")) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.content in {b"", b"id: 1\ndata: event 1\n\n"}
