"""Streams that a policy rewrites, cut at every byte: nobody ever sees what is hidden."""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from random import Random, getrandbits
from threading import Thread, current_thread
from typing import Any

import pytest

from gateway_site.forwarding.calls.event_stream import EventStream
from gateway_site.forwarding.calls.mcp.reading_threads import IN_LOOP
from gateway_site.forwarding.calls.mcp.responses import UnreadableResponse
from gateway_site.mcp.errors import RPCProblem
from gateway_site.mcp.events import EventReader
from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import Message
from gateway_site.mcp.policy import MCPCall
from gateway_site.transport.failures import ReadError
from tests.gateway_site.mcp.other_parsers import parse_by_specification
from tests.gateway_site.support.mcp_reading import Pieces, read_call, read_to_end, request_message

LISTED = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {"tools": [{"name": "denied"}, {"name": "allowed", "cost": 1}], "nextCursor": "c"},
}
LIST = json.dumps(LISTED).encode().replace(b'"cost": 1', b'"cost": 1.50')
NOTE = b'{"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}'
STREAM = (
    b": hello\n\nid: 1\r\ndata: \r\n\r\ndata: " + NOTE + b"\n\nid: 2\nevent: message\ndata: "
    + LIST.replace(b', "result"', b',\r\ndata: "result"') + b"\r\n\r\n: end\n\n"
)  # fmt: skip
ENDS = (b"\n\n", b"\r\n\r\n", b"\r\n\r")  # of an event


class HideDenied:
    """A policy that rejects calls of the tool `denied`, and hides it."""

    def __init__(self, *, accepts_old_transport: bool = False) -> None:
        self.accepts_old_transport = accepts_old_transport
        self.admitted: list[MCPCall] = []

    def admit(self, call: MCPCall) -> None:
        self.admitted.append(call)
        if call.message and call.message.name == "denied":
            raise RPCProblem(403, "denied", "No.", rpc_code=-32602, request_id=call.message.id)

    def rewrite(self, call: MCPCall, response: Message) -> JSONObject | None:
        tools = response.result.get("tools")
        if tools is None:
            return None
        return response.result | {"tools": [each for each in tools if each["name"] != "denied"]}


def tools_in(passed: bytes) -> list[list[str]]:
    """Return the names of tools in whatever events a lenient client finds, complete or not."""
    found = []
    for event in passed.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
        with suppress(ValueError):
            message = json.loads(b"".join(lines))
            found += [[each["name"] for each in message.get("result", {}).get("tools", [])]]
    return [names for names in found if names]


@pytest.mark.parametrize("message", [request_message("tools/list"), None], ids=["first", "resumed"])
async def test_hidden_tool_is_in_no_stream_wherever_it_is_cut(message: Any) -> None:
    for cut in range(len(STREAM) + 1):
        reader = await read_call(HideDenied(), message)
        pieces = [STREAM[:cut], STREAM[cut:]]
        passed, is_whole = await read_to_end(reader, Pieces(pieces, "text/event-stream"))
        assert is_whole
        assert tools_in(passed) == [["allowed"]]
        assert b"denied" not in passed
        assert b'"cost":1.50' in passed
        assert b"id: 2\nevent: message\ndata: " in passed
        assert passed.startswith(b":" + STREAM[7 : STREAM.index(b"id: 2")])
        assert passed.endswith(b"\n\n:\n\n")


async def test_stream_that_ends_or_breaks_anywhere_passes_no_part_of_an_event() -> None:
    for cut in range(len(STREAM)):
        for breaks in (True, False):
            reader = await read_call(HideDenied(), request_message("tools/list"))
            response = Pieces([STREAM[:cut]], "text/event-stream", breaks=breaks)
            passed, is_whole = await read_to_end(reader, response)
            assert b"denied" not in passed
            assert not passed or passed.endswith((*ENDS, b":\n"))
            assert not (breaks and is_whole)
            if is_whole:  # no event has begun
                assert by_lines(STREAM[:cut]) in {b"", b"\n"}


def by_lines(stream: bytes) -> bytes:
    """Return what follows the last whole event or comment, with LF for every end of a line."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")[-1]
    return b"" if lines.startswith(b":") and lines.endswith(b"\n") else lines


async def test_stream_that_ends_at_the_stop_of_the_server_ends_after_a_whole_event() -> None:
    for cut in range(len(STREAM)):
        reader = await read_call(HideDenied(), None)
        pieces = [STREAM[at : at + 1] for at in range(cut)] + [b""]
        response = Pieces([*pieces, STREAM[cut:]], "text/event-stream")
        stream = EventStream(await reader.read_response(response), has_result=False)
        found, number = b"", 0
        while not stream.has_ended:
            if number == cut:
                stream.end()
            found += await stream.read_piece(1)
            number += 1
        assert b"denied" not in found
        assert not found or found.endswith(ENDS)


async def test_json_is_rewritten_with_its_new_length_and_otherwise_unchanged() -> None:
    for cut in range(len(LIST)):
        reader = await read_call(HideDenied(), request_message("tools/list"))
        read = await reader.read_response(Pieces([LIST[:cut], LIST[cut:]], "application/json"))
        content = read.read_rest()
        assert json.loads(content)["result"] == {
            "tools": [{"name": "allowed", "cost": 1.5}],
            "nextCursor": "c",
        }
        assert b'"cost":1.50' in content
        assert read.headers == [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
        ]
    read = await reader.read_response(Pieces([NOTE], "application/json"))
    assert read.read_rest() == NOTE


@pytest.mark.parametrize("status", [201, 202, 300, 400, 404, 500])
async def test_hidden_tool_is_in_no_response_of_another_status(status: int) -> None:
    reader = await read_call(HideDenied(), request_message("tools/list"))
    response = Pieces([LIST[:9], LIST[9:]], "application/json")
    response.status = status
    with suppress(UnreadableResponse):
        found = await reader.read_response(response)
        text = found.read_rest()
        assert found.has_ended
        assert b"denied" not in text
        assert (b"allowed" in text) == (status >= 300)


async def test_json_that_breaks_off_passes_nothing() -> None:
    for cut in range(0, len(LIST), 7):
        reader = await read_call(HideDenied(), request_message("tools/list"))
        with pytest.raises(UnreadableResponse):
            await reader.read_response(Pieces([LIST[:cut]], "application/json"))
        with pytest.raises(ReadError):
            await reader.read_response(Pieces([LIST[:cut]], "application/json", breaks=True))


SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # where httpx-sse up to 0.4.1 ends lines


FIELDS = (": x", ":", "other: x", "id: 1", "event: x", "retry: 1")


def found_by_splitlines(passed: bytes) -> list[Any]:
    """Return the messages that such a client finds, also in an event that has not ended."""
    found, data = list[Any](), list[str]()
    for line in [*passed.decode().splitlines(), ""]:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            with suppress(ValueError):
                found.append(json.loads("\n".join(data)))
            data = []
    return found


@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
async def test_client_that_ends_lines_elsewhere_finds_the_messages_that_were_read(
    separator: str,
) -> None:
    """The row "a client that splits lines at U+2028, U+2029, U+0085 or controls"."""
    hidden = separator + separator + "data: " + LIST.decode() + separator + separator
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"text": hidden}}
    text = json.dumps(note, ensure_ascii=False)
    before = b"data: " + NOTE + b"\n\n"
    assert b"denied" in json.dumps(found_by_splitlines(f": x{hidden}\n\n".encode())).encode()
    for field in (*FIELDS, "event: endpoint\ndata: /"):
        for stream in (f"{field}{hidden}\n\n", f"{field}{hidden}\ndata: {text}\n\n"):
            reader = await read_call(
                HideDenied(accepts_old_transport=True), request_message("tools/list")
            )
            pieces = [before, stream.encode(), before]
            passed, _ = await read_to_end(reader, Pieces(pieces, "text/event-stream"))
            found = found_by_splitlines(passed)
            assert [each for each in found if each != json.loads(NOTE)] in ([], [note])
            assert found == [json.loads(each) for _, each in parse_by_specification(passed)]
            assert passed.startswith(before)


async def test_all_clients_find_the_same_in_a_generated_stream() -> None:
    """Also as many as in the original, which a client by the specification reads."""
    chance = Random(getrandbits(32))  # noqa: S311 - pytest's own seed makes it again
    texts = [*SEPARATORS, ": x", "id: 1", "x: 1", "event: message", "event: x", "", "\ufeff"]
    complete = 0
    for _ in range(150):
        stream = b""
        for _ in range(chance.randrange(1, 14)):
            text, odd = chance.choice(texts), "".join(chance.choices(SEPARATORS, k=2))
            note = json.loads(NOTE) | {"params": {"text": odd, "number": chance.random()}}
            message = "data: " + json.dumps(note, ensure_ascii=False)
            line = chance.choice((text, message, text + odd + message + odd))
            ends = ("\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\r\r", "")
            stream += (line + chance.choice(ends)).encode()
        cuts = sorted(chance.choices(range(len(stream) + 1), k=3))
        pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
        reader = await read_call(HideDenied(), None)
        passed, is_whole = await read_to_end(reader, Pieces(pieces, "text/event-stream"))
        found = found_by_specification(passed)
        assert found_by_splitlines(passed) == found
        if is_whole:
            assert found == found_by_specification(stream)
            complete += bool(found)
    assert complete > 10


def found_by_specification(stream: bytes) -> list[Any]:
    """Return the messages in whole events."""
    found = []
    for _, data in parse_by_specification(stream + b"\n\n"):
        with suppress(ValueError):
            found.append(json.loads(data))
    return found


async def test_comments_pass_at_once_and_keep_the_stream_open() -> None:
    """The row "the honest server that only sends comments for minutes"."""
    reader = await read_call(HideDenied(), None)
    comments = [b": ping - 2026-01-31 10:00:00+00:00\r\n\r\n", b": keep-alive\n", b":\n\n"]
    stream = await reader.read_response(Pieces([*comments * 200, b""], "text/event-stream"))
    for _ in range(200):
        for passing in (b":\r\n\r\n", b":\n", b":\n\n"):
            assert not stream.has_ended
            assert await stream.read_piece(1) == passing


async def test_nothing_follows_an_unreadable_event() -> None:
    unreadable_events = [b"data: {}\n\n", "id: é\n\n".encode(), b"data: \x0b\n\n"]
    for unreadable in (*unreadable_events, b"data: [" + NOTE + b"]\n\n"):
        for size in (1, 1000):
            stream = b"data: " + NOTE + b"\n\n" + unreadable + STREAM
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            reader = await read_call(HideDenied(), None)
            found = await read_to_end(reader, Pieces(pieces, "text/event-stream"))
            assert found == (b"data: " + NOTE + b"\n\n", False)


async def test_sign_of_life_in_an_event_of_another_type_passes_as_a_comment() -> None:
    """Clients ignore such events, but load balancers do not. Nothing passes that is no message."""
    reader = await read_call(HideDenied(), request_message("tools/list"))
    signs = b"event: ping\ndata: 2026-01-31\n\nevent: ping\ndata: {}\n\nevent: x\ndata: [1]\n\n"
    kept = b"event: ping\n\nevent: ping\ndata\n\nevent: x\ndata: " + NOTE + b"\n\n"
    stream = Pieces([signs + kept, b"event: x\ndata: " + LIST + b"\n\n"], "text/event-stream")
    found, is_whole = await read_to_end(reader, stream)
    assert found.startswith(b":\n\n" * 3 + kept + b"event: x\ndata: ")
    assert b"denied" not in found
    assert b"allowed" in found
    assert is_whole


async def test_much_that_arrives_at_once_is_read_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, feed = list[Thread](), EventReader.feed

    def watch(reader: EventReader, data: bytes) -> Iterator[Any]:
        threads.append(current_thread())
        return feed(reader, data)

    monkeypatch.setattr(EventReader, "feed", watch)
    event = b"data: " + NOTE + b"\n\n"
    reader = await read_call(HideDenied(), request_message("tools/list"))
    pieces = [event, event * (IN_LOOP // len(event)), b": \n" * IN_LOOP, b"data: " + b" " * IN_LOOP]
    stream = b"".join([*pieces, NOTE, b"\n\n"])
    found = await read_to_end(reader, Pieces([*pieces, NOTE, b"\n\n"], "text/event-stream"))
    assert found == (stream.replace(b": \n", b":\n"), True)
    is_in_loop = [each is current_thread() for each in threads]
    assert is_in_loop == [True, True, False, False, False, False]


async def test_response_of_more_than_four_megabytes_passes_nothing() -> None:
    large = b'{"jsonrpc":"2.0","id":1,"result":{"a":"%b"}}' % (b"a" * (4 << 20))
    reader = await read_call(HideDenied(), request_message("tools/list"))
    endless = Pieces([large] * 9, "application/json")
    with pytest.raises(UnreadableResponse):
        await reader.read_response(endless)
    assert len(endless.pieces) == 8
    assert await read_to_end(
        reader, Pieces([b": hello\n\ndata: " + large + b"\n\n"], "text/event-stream")
    ) == (b":\n\n", False)


async def test_stream_of_the_old_transport_passes_only_without_rules() -> None:
    stream = b"event: endpoint\ndata: /messages/?session_id=1\n\n"
    for accepts in (True, False):
        policy = HideDenied(accepts_old_transport=accepts)
        reader = await read_call(policy, None)
        found = await read_to_end(reader, Pieces([stream], "text/event-stream"))
        assert found == ((stream, True) if accepts else (b"", False))


async def test_policy_sees_the_call_and_keeps_no_content_of_it_for_the_response() -> None:
    policy = HideDenied()
    seen: list[MCPCall] = []
    policy.rewrite = lambda call, response: seen.append(call)  # type: ignore[method-assign]
    reader = await read_call(
        policy, request_message("tools/call", name="allowed", arguments={"a": "b"})
    )
    await reader.read_response(Pieces([LIST], "application/json"))
    [admitted] = policy.admitted
    assert admitted.message is not None
    assert admitted.message.params["arguments"] == {"a": "b"}
    assert (admitted.upstream, admitted.http_method, admitted.version) == ("api", "POST", None)
    assert (admitted.caller.person, admitted.caller.groups) == ("7", ("staff",))
    assert seen[0].message is not None
    assert (seen[0].message.name, seen[0].message.params) == ("allowed", {})
    with pytest.raises(RPCProblem) as rejected:
        await read_call(policy, request_message("tools/call", name="denied"))
    assert json.loads(rejected.value.response().content) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32602, "message": "No.", "data": {"problem": "denied"}},
    }
