"""Files of an audit log: complete ones, and each way to change them."""

import errno
import fcntl
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway_site.audit.chain import LINE_MAX, NOTHING, digest_of, may_be_cut
from gateway_site.audit.event import make_event
from gateway_site.audit.verification import (
    find_faults_by_aws,
    find_files,
    read_log,
    read_stored,
)
from sessions_kms import StoreUnavailable
from sessions_kms.operations.audit_writers import AuditWriters
from tests.gateway_site.audit.written import START, Machine, Process

Lines = list[bytes]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return two processes' log: `a` ran to its end, `b` was killed after its last checkpoint."""
    machine = Machine(tmp_path / "audit.jsonl")
    a, b = machine.process("a"), machine.process("b")
    for number in range(3):
        machine.clock.advance(60)
        a.write("call", bytes=number)
        b.write("call", bytes=number)
    b.checkpoint()
    a.end()
    b.write("call", bytes=9)
    return machine


def lines_of(machine: Machine) -> Lines:
    return machine.path.read_bytes().splitlines()


def rewrite(machine: Machine, lines: Lines) -> None:
    machine.path.write_bytes(b"".join(line + b"\n" for line in lines))


def test_intact_log_has_no_faults_and_says_how_far_it_is_complete(machine: Machine) -> None:
    assert machine.faults() == []
    log = read_log([machine.path])
    assert log.writers["a"].has_ended
    assert not log.writers["b"].has_ended
    last = log.writers["b"].last_checkpoint
    assert last is not None
    assert (last.number, log.writers["b"].last.number) == (6, 7)


def test_chain_can_be_checked_with_a_digest_alone(machine: Machine) -> None:
    previous = {"a": NOTHING, "b": NOTHING}
    numbers = {"a": 0, "b": 0}
    for line in lines_of(machine):
        event = json.loads(line)
        writer = event["writer"]
        numbers[writer] += 1
        assert (event["number"], event["previous"]) == (numbers[writer], previous[writer])
        previous[writer] = digest_of(line)


def of(writer: str, line: bytes) -> bool:
    return f'"writer":"{writer}"'.encode() in line


def without(line: bytes, lines: Lines) -> Lines:
    return [each for each in lines if each is not line]


def last_checkpoint(writer: str, lines: Lines) -> int:
    return max(
        at for at, line in enumerate(lines) if of(writer, line) and b'"event":"checkpoint"' in line
    )


def rechain(lines: Lines, changed: Callable[[dict[str, object]], None]) -> Lines:
    """Return `a`'s lines changed, with all digests correct, as somebody without KMS can."""
    made, previous = [], NOTHING
    for line in lines:
        made.append(line)
        if of("a", line):
            event = json.loads(line) | {"previous": previous}
            changed(event)
            made[-1] = json.dumps(event, separators=(",", ":")).encode()
            previous = digest_of(made[-1])
    return made


def set_person(event: dict[str, object]) -> None:
    if event["event"] == "call":
        event["person"] = "somebody"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(
            lambda lines: [line.replace(b'"number":1', b'"number":7') for line in lines],
            "a: Event",
            id="numbers",
        ),
        pytest.param(
            lambda lines: [line.replace(b'event":"call', b'event":"opened') for line in lines],
            "was changed",
            id="altered",
        ),
        pytest.param(lambda lines: without(lines[5], lines), "are missing", id="one removed"),
        pytest.param(
            lambda lines: [line for line in lines if not of("a", line)],
            "a: The table has",
            id="a writer removed",
        ),
        pytest.param(
            lambda lines: lines[: last_checkpoint("b", lines)],
            "b: Events",
            id="the end removed",
        ),
        pytest.param(
            lambda lines: [line for line in lines if not of("b", line)] + [b"garbage"],
            "b: A checkpoint of another process names it",
            id="a writer replaced by garbage",
        ),
        pytest.param(lambda lines: rechain(lines, set_person), "not signed by KMS", id="rechained"),
        pytest.param(
            lambda lines: [*lines[:4], lines[6], lines[5], lines[4], *lines[7:]],
            "is not at its place",
            id="two swapped",
        ),
        pytest.param(
            lambda lines: [*lines[:2], *lines[3:-3], lines[2], *lines[-3:]],
            "is not at its place",
            id="moved",
        ),
        pytest.param(
            lambda lines: [*lines[:-2], lines[0], *lines[-2:]],
            "a: The event 1 is twice in a file.",
            id="repeated",
        ),
        pytest.param(
            lambda lines: [*lines, lines[4].replace(b"}", b',"more":1}')],
            "two versions",
            id="another version",
        ),
    ],
)
def test_change_is_found(machine: Machine, change: Callable[[Lines], Lines], found: str) -> None:
    rewrite(machine, change(lines_of(machine)))
    assert any(found in fault for fault in machine.faults()), machine.faults()


def test_events_after_the_end_of_a_process_are_found(machine: Machine) -> None:
    process = machine.process("c")
    process.end()
    assert machine.faults() == []
    process.write("call", person="9")
    assert machine.faults() == ["c: Events after 3 follow its end."]


def write_failing(
    process: Process, monkeypatch: pytest.MonkeyPatch, size: int, persons: str = "1234"
) -> None:
    """Have a write of events fail after so many bytes, and leave them: no lock is there."""
    sizes = [size, 0]

    def write(descriptor: int, data: bytes, write: Callable[..., int] = os.write) -> int:
        written = write(descriptor, data[: sizes.pop(0)])
        if not written or written == len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    def lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        patch.setattr(fcntl, "flock", lock)
        now = process.machine.clock()
        assert not process.sink.write([make_event("call", now, person=each) for each in persons])


@pytest.mark.parametrize("is_rotated", [False, True])
def test_honest_log_has_no_fault_wherever_a_write_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_rotated: bool
) -> None:
    for size in [*range(1, 700, 97), 10_000]:
        machine = Machine(tmp_path / f"{size}.jsonl")
        process = machine.process("c")
        write_failing(process, monkeypatch, size)
        write_failing(process, monkeypatch, 10_000 - size, persons="")  # the next attempt
        files = [machine.path]
        assert machine.faults() == [], "as if it was killed then"
        if is_rotated:
            files.append(machine.path.rename(f"{machine.path}.1"))
        process.write("call", person="5")
        process.end()
        assert machine.faults(*files) == []


def test_lines_that_somebody_repeats_are_found_even_if_others_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = machine.process("c")
    write_failing(process, monkeypatch, 500)
    process.write("call", person="5")
    process.end()
    assert machine.faults() == []
    lines = lines_of(machine)
    own = [at for at, line in enumerate(lines) if of("c", line) and line.endswith(b"}")]
    named = [at for at in own if b'"person":"' in lines[at] and b'"person":"5"' not in lines[at]]
    [naming] = [at for at in own if b'"repeated"' in lines[at]]
    for at in own:
        for place in range(at + 1, len(lines) + 1):
            rewrite(machine, [*lines[:place], lines[at], *lines[place:]])
            is_named = at in named and place <= naming
            assert bool(machine.faults()) or is_named, (at, place)


def test_process_that_is_killed_before_its_first_checkpoint_leaves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = machine.path.read_bytes()
    killed = Process(machine, "c", is_started=False)
    killed.write("started")
    assert machine.path.read_bytes() == before
    monkeypatch.setattr(machine.aws, "sign", lambda _: fail())
    assert not killed.sink._checkpoint(is_last=False)
    assert machine.path.read_bytes() != before, "events are written without KMS"
    assert "check_session_store` checks key and table." in caplog.text


def fail(*_: object) -> None:
    raise StoreUnavailable


def test_lines_after_the_last_checkpoint_are_counted_and_a_fault_if_they_are_late(
    machine: Machine,
) -> None:
    assert read_log([machine.path]).writers["b"].unauthenticated == 1
    machine.clock.advance(600)
    line = Process.append(machine, "b", "call")
    assert machine.faults() == []
    machine.clock.advance(1)
    Process.append(machine, "b", "call")
    late = "b: Events after the checkpoint 6 are dated over ten minutes later:"
    assert [each[: len(late)] for each in machine.faults()] == [late]
    assert machine.faults(offline=True)
    # In whichever order the files come.
    lines = lines_of(machine)
    at = lines.index(line)
    rotated = machine.path.with_name("audit.jsonl.1")
    rotated.write_bytes(b"".join(each + b"\n" for each in lines[:at]))
    rewrite(machine, lines[at:])
    for files in ([machine.path, rotated], [rotated, machine.path]):
        assert [each[: len(late)] for each in machine.faults(*files)] == [late]
        assert read_log(files).writers["b"].unauthenticated == 3


@pytest.mark.parametrize(
    "text",
    [
        b'1 {"event":"call"}',
        b'{"event":"call"} x',
        b'{"event":"call"}{"event"',
        b' {"event":"call"',
        b'[{"event":"call"',
        b'{"a":"\\""}',
        b'{"a":"}',
        b'"event":"call"}',
    ],
)
def test_text_in_which_a_program_may_find_an_object_is_a_fault(
    machine: Machine, text: bytes
) -> None:
    rewrite(machine, [text, *lines_of(machine)])
    is_cut = text == b'{"a":"}'
    assert bool(machine.faults()) is not is_cut


def test_line_that_was_cut_anywhere_is_no_fault(machine: Machine) -> None:
    lines = lines_of(machine)
    for end in range(1, len(lines[0])):
        assert may_be_cut(lines[0][:end])
    rewrite(machine, [lines[0][:99], *lines])
    assert machine.faults() == []


def test_rotated_files_are_found_whatever_their_name(tmp_path: Path) -> None:
    path, rotated = tmp_path / "audit[1].jsonl", tmp_path / "audit[1].jsonl.1"
    for each in (path, rotated, tmp_path / "audit1.jsonl.1"):
        each.touch()
    assert find_files(path) == [path, rotated]


def test_every_line_up_to_the_last_checkpoint_is_protected(machine: Machine) -> None:
    lines = lines_of(machine)
    proven = [*range(len(lines) - 1)]  # the last one is b's, after its last checkpoint
    for at in proven:
        rewrite(machine, [*lines[:at], *lines[at + 1 :]])
        assert machine.faults(), lines[at]
        rewrite(machine, [*lines[:at], lines[at][:-9], *lines[at + 1 :]])
        assert machine.faults(), lines[at]
    rewrite(machine, lines[:-1])
    assert machine.faults() == [], "the documentation says that this cannot be noticed"


def test_end_is_missed_by_the_table_only_until_somebody_has_both(machine: Machine) -> None:
    lines = lines_of(machine)
    rewrite(machine, [line for line in lines if not of("b", line)])
    for name in list(machine.stack.items()):
        if name.startswith("audit#"):
            machine.stack.delete_item(name)
    # a's signed checkpoint still names b, and the table should have a.
    assert {fault.partition(":")[0] for fault in machine.faults()} == {"a", "b"}


def test_checkpoint_that_left_the_table_is_missed_until_it_would_have_expired(
    machine: Machine,
) -> None:
    machine.stack.delete_item("audit#django#a")
    assert machine.faults() == [
        "a: The table has no checkpoint of it: its end may have been removed."
    ]
    machine.stack.delete_item("audit#django#b")
    machine.clock.advance(401 * 86_400)
    assert machine.faults() == []


def test_checkpoint_is_made_without_the_table_and_not_without_kms(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = machine.process("c")

    def fail(*_: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(machine.aws, "newest", fail)
        process.checkpoint()
        patch.setattr(machine.aws, "put", fail)
        assert not process.sink._checkpoint(is_last=False)
        patch.setattr(machine.aws, "sign", fail)
        assert not process.sink._checkpoint(is_last=False)
    process.write("call")
    process.end()
    assert machine.faults() == []
    log = read_log([machine.path])
    assert list(log.writers["c"].checkpoints) == [2, 3, 4, 6]


def test_log_that_a_former_key_signed_is_verified_with_it(machine: Machine) -> None:
    former = str(machine.aws._services.config.audit_key_id)
    services = machine.aws._services
    config = replace(services.config, audit_key_id=former.replace("1111", "2222"))
    now = AuditWriters(replace(services, config=config), machine.aws._kms)
    both = AuditWriters(replace(services, config=config), machine.aws._kms, [former])
    log = read_log([machine.path])
    assert len(list(find_faults_by_aws(log, read_stored(now), now, None))) == 2
    assert list(find_faults_by_aws(log, read_stored(both), both, None)) == []


@pytest.mark.parametrize("damage", [b'{"writer":"a","num', b"\xff\x00", b"[]", b"0" * LINE_MAX])
def test_lines_that_were_cut_are_counted_and_are_no_fault(machine: Machine, damage: bytes) -> None:
    lines = lines_of(machine)
    rewrite(machine, [*lines[:4], damage, *lines[4:]])
    assert machine.faults() == []
    assert read_log([machine.path]).damaged == 1


@pytest.mark.parametrize(
    "added",
    [
        b'{"time":"2026-01-31T10:00:00.000Z","event":"call","person":"7","decision":"allowed"}',
        b'{"writer":1}',
        b'{"event":"call","tool":"' + b"x" * LINE_MAX + b'"}',
        b'{"event":' + b"[" * (LINE_MAX // 2 - 10) + b"]" * (LINE_MAX // 2 - 10) + b"}",
    ],
)
def test_whole_object_of_no_process_is_a_fault(machine: Machine, added: bytes) -> None:
    lines = lines_of(machine)
    rewrite(machine, [*lines[:4], added, *lines[4:]])
    [fault] = machine.faults()
    assert "somebody else has written" in fault


def test_item_that_was_changed_in_the_table_is_reported(machine: Machine) -> None:
    item = machine.stack.items()["audit#django#a"]
    machine.stack.put_item(item | {"number": {"N": "99"}})
    assert machine.faults() == ["a: Its item in the table cannot be read: the table was changed."]
    machine.stack.put_item(item | {"checkpoint": {"B": b"{}"}})
    assert len(machine.faults()) == 1


def test_rotated_and_compressed_files_are_one_log_in_any_order(machine: Machine) -> None:
    lines = lines_of(machine)
    rewrite(machine, lines[8:])
    old, older = machine.path.with_name("audit.jsonl.1"), machine.path.with_name("audit.jsonl.2.gz")
    old.write_bytes(b"\n".join(lines[4:8]) + b"\n")
    older.write_bytes(gzip.compress(b"\n".join(lines[:4]) + b"\n"))
    found = find_files(machine.path)
    assert sorted(found) == sorted([machine.path, old, older])
    assert machine.faults(*found) == machine.faults(*reversed(found)) == []
    assert machine.faults(*found, old) == [], "the same file twice"
    assert machine.faults(machine.path, older) != []


def test_files_that_are_no_longer_kept_are_not_missed(machine: Machine) -> None:
    lines = lines_of(machine)
    rewrite(machine, lines[4:])
    assert machine.faults() != []
    assert machine.faults(since=START + 30) == []
    rewrite(machine, lines[8:])
    machine.clock.advance(9_000)
    assert machine.faults(since=START - 3_000) != [], "more is missing than was said"
    rewrite(machine, lines[4:6] + lines[8:])
    assert machine.faults(since=START + 30) != [], "a gap after that time"


def test_clock_that_is_set_back_breaks_no_chain(machine: Machine) -> None:
    machine.clock.advance(-86_400)
    process = machine.process("c")
    process.write("call")
    machine.clock.advance(-86_400)
    process.checkpoint()
    process.end()
    assert machine.faults() == []
