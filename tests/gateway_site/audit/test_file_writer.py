"""The queue: who gets a place, what is lost, and what a file that cannot be written does."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway_site.audit import file_writer
from gateway_site.audit.checkpoint import HEADS_TIME, STEP_TIME
from gateway_site.audit.event import Event
from gateway_site.audit.file_writer import EventQueue
from gateway_site.edge import http_metrics
from tests.gateway_site.audit.written import Machine
from tests.support.waiting import wait_until


class Sink:
    """Keeps what it gets while it works, as a file would."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.written: list[Event] = []
        self.unwritten: list[Event] = []
        self.has_closed = False

    def write(self, events: list[Event]) -> bool:
        self.unwritten += events
        if self.works.is_set():
            self.written += self.unwritten
            self.unwritten = []
        return not self.unwritten

    def pause(self) -> float | None:
        return None

    def close(self) -> None:
        self.has_closed = True


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def queue(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> EventQueue:
    monkeypatch.setattr(file_writer, "QUEUE_MAX", 3)
    monkeypatch.setattr(file_writer, "SPARE", 2)
    monkeypatch.setattr(file_writer, "RETRY_WRITE", 0.001)
    return EventQueue(sink, clock=lambda: 0)


def event(name: str) -> Event:
    return {"event": name}


def names(events: list[Event]) -> list[Any]:
    return [each["event"] for each in events]


def test_reserved_places_are_kept_from_other_events(
    sink: Sink, queue: EventQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "start", lambda: None)
    assert queue.reserve()
    for name in "abcdef":
        queue.add(event(name))
    assert names([each for _, each in queue._events]) == ["a", "b", "c", "d"]
    queue.add(event("call"), reserved=True)
    monkeypatch.undo()
    sink.works.set()
    queue.start()
    queue.close()
    assert names(sink.written) == ["a", "b", "c", "d", "call", "dropped"]
    assert sink.written[-1]["events"] == 2
    assert sink.has_closed


def test_events_that_follow_soon_are_written_together_except_at_the_end(
    sink: Sink, queue: EventQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, delays = list[list[Any]](), list[float]()

    def add_another(seconds: float) -> None:
        delays.append(seconds)
        queue.add(event("b"))

    def write(events: list[Event]) -> bool:
        batches.append(names(events))
        return True

    monkeypatch.setattr(file_writer, "sleep", add_another)
    monkeypatch.setattr(sink, "write", write)
    queue.add(event("a"))
    wait_until(lambda: batches == [["a", "b"]], "both are written")
    with queue._changed:
        queue._is_closing = True
        queue.add(event("c"))
    queue.close()
    assert (batches[1], delays) == (["c"], [0.005])


def test_calls_are_rejected_while_the_file_cannot_be_written_and_nothing_is_lost(
    sink: Sink, queue: EventQueue
) -> None:
    queue.add(event("a"))
    wait_until(lambda: queue._is_failing, "the first write has failed")
    assert not queue.reserve()
    queue.add(event("b"))
    sink.works.set()
    wait_until(lambda: names(sink.written) == ["a", "b"], "both are written")
    wait_until(queue.reserve, "calls are possible again")
    queue.close()


def test_process_ends_although_nothing_can_be_written(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcdef":
        queue.add(event(name))
    queue.close(5)
    assert queue._thread
    assert not queue._thread.is_alive()
    assert "incomplete" in caplog.text


def test_disk_that_hangs_rejects_calls_is_logged_once_and_does_not_delay_the_end(
    sink: Sink,
    queue: EventQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A disk that hangs returns no error."""
    now, counted = [1000.0], list[str]()
    monkeypatch.setattr(file_writer, "monotonic", lambda: now[0])
    monkeypatch.setattr(http_metrics.gateway, "count", lambda _, *, step: counted.append(step))
    moves, hangs = threading.Event(), threading.Event()

    def hang(events: list[Event]) -> bool:
        hangs.set()
        moves.wait(60)
        sink.written += events
        return True

    monkeypatch.setattr(sink, "write", hang)
    queue.add(event("a"))
    assert hangs.wait(60)
    assert queue.reserve()
    now[0] += 5
    assert queue.reserve()
    now[0] += 0.1
    assert not queue.reserve()
    wait_until(lambda: len(counted) >= 3, "each second counts")
    assert set(counted) == {"write"}
    assert caplog.text.count("The audit log cannot be written") == 1
    moves.set()
    wait_until(lambda: "can be written again" in caplog.text, "that is logged too")
    assert queue.reserve()
    moves.clear()
    hangs.clear()
    queue.add(event("b"))
    assert hangs.wait(60)
    now[0] += 5.1
    queue.close()  # its end would come when the clock moves
    assert "incomplete" in caplog.text
    moves.set()


def test_each_attempt_that_fails_is_counted_and_only_the_first_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An alarm on the counter must last as long as calls are rejected."""
    counted: list[tuple[str, str]] = []
    monkeypatch.setattr(
        http_metrics.gateway, "count", lambda name, *, step: counted.append((name, step))
    )
    folder = tmp_path / "log"
    folder.mkdir()
    process = Machine(folder / "audit.jsonl").process("a")
    folder.rename(tmp_path / "gone")
    for _ in range(3):
        assert not process.sink.write([{"event": "call"}])
    assert counted == [("audit.failures", "write")] * 3
    [message] = [each.message for each in caplog.records if "cannot be written" in each.message]
    assert message.startswith(f"The audit log cannot be written: {folder / 'audit.jsonl'}: No such")
    assert "AUDIT_FILE" in message
    assert "Until it can be written, " in message


def test_events_after_a_failure_continue_the_chain(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    machine = Machine(folder / "audit.jsonl")
    process = machine.process("a")
    folder.rename(tmp_path / "gone")
    assert not process.sink.write([{"time": "2026-01-01T00:00:00Z", "event": "call"}])
    assert not process.sink._checkpoint(is_last=False)
    (tmp_path / "gone").rename(folder)
    process.write("call")
    process.end()
    assert machine.faults() == []
    lines = machine.path.read_bytes().splitlines()
    numbers = [json.loads(line)["number"] for line in lines]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    [named] = [each for each in map(json.loads, lines) if each["event"] == "repeated"]
    assert (named["first"], named["last"], named["number"]) == (3, 4, 5)


def test_checkpoint_waits_for_aws_for_less_time_than_an_event_may_wait() -> None:
    """Calls continue while KMS or the table cannot be reached."""
    assert HEADS_TIME + 2 * STEP_TIME < file_writer.AGE_MAX
