"""One call's events, without a network: what each message of a response adds."""

import asyncio
import base64
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from gateway_site.audit import call as audited
from gateway_site.audit import trail
from gateway_site.audit.call import AuditedCall
from gateway_site.audit.event import Event
from gateway_site.edge.access_log import KEY, CheckedMessage, LogEntry
from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.forwarding.thread_pools import FairSemaphore
from tests.gateway_site.support.in_process import ask, in_a_new_loop


class Queue:
    """Takes the events of a call in place of the process's queue."""

    def __init__(self, *, has_room: bool = True) -> None:
        self.has_room = has_room
        self.places = 0
        self.events: list[Event] = []

    def reserve(self) -> bool:
        self.places += self.has_room
        return self.has_room

    def reserve_another(self) -> None:
        self.places += 1

    def add(self, event: Event, *, reserved: bool = False) -> None:
        self.places -= reserved
        self.events.append(event)


class Trail:
    def __init__(self, queue: Queue, *, rejects: bool = True) -> None:
        self.queue = queue
        self.rejects = rejects


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue()
    monkeypatch.setattr(audited, "trail", lambda: Trail(made))
    return made


def serve(entry: LogEntry, *messages: dict[str, Any], headers: Mapping[bytes, bytes] = {}) -> None:
    scope = {
        "method": "POST",
        "path": "/gateway/echo/x",
        "headers": list(headers.items()),
        KEY: entry,
    }

    async def run() -> None:
        async def send(_: object) -> None:
            pass

        call = AuditedCall(scope, send)
        for message in messages:
            await call.send(message)
        call.end()

    asyncio.run(run())


def start(status: int, **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


BODY = {"type": "http.response.body", "body": b"12345"}


def admitted_entry(*, is_sent: bool = False) -> LogEntry:
    return LogEntry("r1", user="7", client="Claude", upstream="echo", is_sent=is_sent)


def sent_entry() -> LogEntry:
    return admitted_entry(is_sent=True)


@pytest.mark.parametrize(
    ("entry", "messages", "expected"),
    [
        (sent_entry(), [start(200), BODY, BODY], ("allowed", None, 200, 10)),
        (sent_entry(), [start(404), BODY], ("allowed", None, 404, 5)),
        (
            admitted_entry(),
            [start(403, X_Gateway_Problem="forbidden")],
            ("rejected", "forbidden", 403, 0),
        ),
        (
            admitted_entry(),
            [start(504, x_gateway_problem="timeout")],
            ("failed", "timeout", 504, 0),
        ),
        (LogEntry("r1"), [start(302)], ("rejected", None, 302, 0)),
        (
            sent_entry(),
            [start(401, X_Gateway_Problem="signed_out")],
            ("allowed", "signed_out", 401, 0),
        ),
        (sent_entry(), [start(504, x_gateway_problem="timeout")], ("failed", "timeout", 504, 0)),
        (sent_entry(), [], ("allowed", None, None, 0)),
        (admitted_entry(), [], ("abandoned", None, None, 0)),
        (admitted_entry(), [start(204)], ("allowed", None, 204, 0)),
    ],
)
def test_response_decides_what_is_recorded(
    queue: Queue, entry: LogEntry, messages: list[dict[str, Any]], expected: tuple[object, ...]
) -> None:
    serve(entry, *messages)
    [event] = queue.events
    assert (event["decision"], event["code"], event["status"], event["bytes"]) == expected
    assert (event["event"], event["request"], queue.places) == ("call", "r1", 0)


@pytest.mark.parametrize(
    ("address", "recorded"),
    [
        ("https://h.example/a?token=s#s", "https://h.example/a"),
        ("https://user:s@h.example/a", "https://h.example/a"),
        ("notes:a/b?token=s", "notes:a/b"),
        ("NOTES:a#s", "NOTES:a"),
        ("data:text/plain,s", "data:"),
        ("mailto:s@h.example", "mailto:h.example"),
        ("search", "search"),
        ("team:search", "team:search"),
        ("https://user:s@s@h.example/a@b", "https://h.example/a@b"),
        ("//u:s@h.example/a?s", "//h.example/a"),
        (" https://u:s@h.example/a?s", " https://h.example/a"),
        ("\\\\u:s@h.example\\a?s", "\\\\h.example\\a"),
        ("search?s", "search"),
        (" data:s", "data:"),
        (f"https://h.example/a?{'s' * 9_000}", "https://h.example/a"),
        (f"https://{'u' * 9_000}:s@h.example/a", "https://…"),
        (f"https://h.example/a%2f{'u' * 9_000}:s@h.example/a", "https://h.example/a%2f…"),
        (f"https://h.example/{'u' * 8_172}%2Fs", "https://h.example/…"),  # cut within "%2F"
        ("s" * 9_000, "…"),
    ],
)
def test_address_is_recorded_without_what_may_be_secret(
    queue: Queue, address: str, recorded: str
) -> None:
    entry = admitted_entry()
    entry.checked = CheckedMessage(method="resources/read", tool=address)
    serve(entry, start(200))
    assert queue.events[-1]["tool"] == recorded


@pytest.mark.parametrize("repeated", ["a:", "@", "%25", "/", "//", "u:s@", "data", "%2525253a"])
def test_long_address_takes_time_in_proportion_to_its_length_up_to_8_kb(repeated: str) -> None:
    """It is read in the event loop, and may come from a message of 1 MB."""

    def count(length: int) -> int:
        steps = 0

        def step(*_: object) -> None:
            nonlocal steps
            steps += 1

        sys.setprofile(step)
        try:
            audited.strip_address("x:" + repeated * length)
        finally:
            sys.setprofile(None)
        return steps

    assert count(4000) < 5 * count(1000)
    assert count(500_000) < 20 * count(1000)


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_name_of_a_tool_that_was_compared_with_the_message_is_recorded_whole(
    queue: Queue, method: str
) -> None:
    entry = admitted_entry()
    for name in ("crm:x@delete", "crm:delete?v2", "crm:delete#v2", "data:export"):
        entry.checked = CheckedMessage(method=method, tool=name)
        serve(entry, start(200))
        assert queue.events[-1]["tool"] == name
    entry.checked = None
    headers = {b"mcp-method": method.encode(), b"mcp-name": b"https://a.example/x?token=secret"}
    serve(entry, start(200), headers=headers)
    assert queue.events[-1]["tool"] == "https://a.example/x"


def test_stream_has_a_place_for_its_end(queue: Queue) -> None:
    serve(admitted_entry(), start(200, content_type="text/event-stream; charset=utf-8"), BODY)
    assert [(each["event"], each["bytes"]) for each in queue.events] == [
        ("call", 0),
        ("stream_ended", 5),
    ]
    assert queue.places == 0


@pytest.mark.parametrize(
    ("headers", "checked", "expected"),
    [
        ({}, None, (None, None, False)),
        ({b"Mcp-Name": b"search"}, None, (None, "search", True)),
        (
            {b"mcp-method": b"resources/read", b"mcp-name": b"https://a.example/x?token=secret#y"},
            None,
            ("resources/read", "https://a.example/x", True),
        ),
        (
            {b"mcp-name": b"=?base64?" + base64.b64encode("a://ä?secret".encode()) + b"?="},
            None,
            (None, "a://ä", True),
        ),
        ({b"mcp-name": b"=?base64?secret?="}, None, (None, "=", True)),
        (
            {b"mcp-name": b"harmless"},
            CheckedMessage(method="tools/call", tool="delete", rule="3", policy="abc"),
            ("tools/call", "delete", False),
        ),
    ],
)
def test_headers_only_claim_what_the_message_says(
    queue: Queue,
    headers: dict[bytes, bytes],
    checked: CheckedMessage | None,
    expected: tuple[object, ...],
) -> None:
    entry = admitted_entry()
    entry.checked = checked
    serve(entry, start(200), headers=headers)
    [event] = queue.events
    assert (event["method"], event["tool"], event["claimed"]) == expected
    assert event["rule"] == (checked and checked.rule)


@pytest.mark.parametrize(
    ("has_room", "rejects", "is_possible"),
    [(True, True, True), (False, True, False), (False, False, True)],
)
def test_call_without_room_for_its_event_is_possible_if_events_may_be_lost(
    monkeypatch: pytest.MonkeyPatch, has_room: bool, rejects: bool, is_possible: bool
) -> None:
    made = Trail(Queue(has_room=has_room), rejects=rejects)
    monkeypatch.setattr(audited, "trail", lambda: made)

    async def send(_: object) -> None:
        pass

    assert AuditedCall({"headers": []}, send).is_possible is is_possible


def test_call_that_is_not_possible_is_rejected_before_it_is_admitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = GatewayHandler()
    monkeypatch.setattr(handler, "_is_audited", True)
    monkeypatch.setattr(handler, "_calls", None)  # To admit the call would be an AttributeError.
    monkeypatch.setattr(audited, "trail", lambda: Trail(Queue(has_room=False)))
    status, body, headers = in_a_new_loop(lambda: ask(handler, "/gateway/api"))
    assert (status, dict(headers)[b"X-Gateway-Problem"]) == (503, b"audit_unavailable")
    assert b"audit_unavailable" in body


@pytest.mark.parametrize("who", ["client", "server"])
def test_call_that_client_or_server_ends_while_it_waits_for_its_turn_is_abandoned(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """A server that stops cancels what lasts too long."""
    handler = GatewayHandler()
    monkeypatch.setattr(handler, "_is_audited", True)
    monkeypatch.setattr(handler._calls, "_admissions", FairSemaphore(0))
    scope = {"type": "http", "method": "GET", "path": "/gateway/echo/x", "headers": []}

    async def leave() -> dict[str, str]:
        if who == "server":
            calls[0].cancel()
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        raise AssertionError

    async def call() -> None:
        calls.append(asyncio.create_task(handler(scope, leave, send)))
        with suppress(asyncio.CancelledError):
            await calls[0]

    calls: list[asyncio.Task[None]] = []
    in_a_new_loop(call)
    [event] = queue.events
    assert (event["decision"], event["status"], queue.places) == ("abandoned", None, 0)


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    assert not trail.is_on()
    trail.record("call")
    assert trail._trail is None
