"""`verify_audit` and `exposure` as an operator runs them."""

import json
import math
import os
from pathlib import Path

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from gateway_site.management import audit_files
from tests.gateway_site.audit.written import Machine
from tests.sessions_kms.support.commands import Run, run
from tests.sessions_kms.support.stacks import Stack

PERIOD = ("--from", "2023-11-14T22:00:00Z", "--to", "2023-11-14T23:00:00+00:00")


@pytest.fixture
def machine(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "audit.jsonl")
    settings.AUDIT_FILE = machine.path
    monkeypatch.setattr(audit_files, "AuditWriters", lambda *_, **__: machine.aws)
    monkeypatch.setattr(audit_files, "services", lambda: None)
    return machine


def change_first_line(machine: Machine) -> None:
    machine.path.write_bytes(machine.path.read_bytes().replace(b"started", b"altered", 1))


def test_verification_says_how_far_the_log_is_complete(machine: Machine) -> None:
    done = machine.process("a")
    killed = machine.process("b")
    done.end()
    killed.write("call")
    found = run("verify_audit")
    assert found.status == 0
    assert "a: 3 events until 2023-11-14T22:13:20.000Z, complete to its end" in found.out
    assert "b: 3 events" in found.out
    assert "complete up to 2 (2023-11-14T22:13:20.000Z); later ones may be missing" in found.out
    assert "Nothing is missing or changed" in found.out
    writers = run("verify_audit", "--json").json["writers"]
    assert (writers["a"]["ended"], writers["b"]["complete_up_to"]) == (True, 2)


def test_verification_of_a_changed_log_fails(machine: Machine) -> None:
    machine.process("a").end()
    change_first_line(machine)
    found = run("verify_audit")
    assert found.status == 1
    assert "FAIL a: The event 1 or 2 was changed." in found.out
    assert run("verify_audit", "--offline").status == 1
    assert not run("verify_audit", "--json").json["intact"]


def test_exposure_names_people_by_their_accounts(machine: Machine, store: Stack) -> None:
    user = User.objects.create(username="ada", email="ada@example.com")
    SocialAccount.objects.create(user=user, provider="corp", uid="1001")
    process = machine.process("a")
    process.write("opened", person=str(user.pk), session="abcdefgh", client="Claude")
    process.write("opened", person="999", session="ijklmnop", client=None)
    process.end()
    found = run("exposure", *PERIOD)
    assert found.status == 0
    assert "At least these people" in found.out
    assert f"user {user.pk} (corp 1001 <ada@example.com>), sessions: abcdefgh, clients: Claude" in (
        found.out
    )
    assert "user 999 (no account is known now), sessions: ijklmnop" in found.out
    assert "No log can show:" in found.out
    assert "only these" not in found.out
    assert [each["person"] for each in run("exposure", *PERIOD, "--json").json["at_least"]] == [
        str(user.pk),
        "999",
    ]


def test_exposure_by_a_changed_log_lists_people_and_fails(machine: Machine, store: Stack) -> None:
    process = machine.process("a")
    process.write("opened", person="7", session="abcdefgh")
    process.end()
    change_first_line(machine)
    found = run("exposure", *PERIOD)
    assert found.status == 1
    assert "FAIL a:" in found.out
    assert "user 7" in found.out


def test_people_may_be_affected_who_were_not_recorded(machine: Machine, store: Stack) -> None:
    machine.process("a").end()
    assert "People may be affected nevertheless" in run("exposure", *PERIOD).out


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("verify_audit",), 1, "There is no audit log at"),
        (("exposure", *PERIOD), 1, "There is no audit log at"),
        (
            ("exposure", *PERIOD[2:], *PERIOD[:1], "2023-11-14T22:00:00"),
            2,
            "not a time with",
        ),
        (("exposure", *PERIOD[:2], "--to", "2023-11-14T21:00:00Z"), 2, "must not be after"),
        (("verify_audit", "/nowhere/audit.jsonl"), 1, "Could not read the audit log"),
        (("verify_audit", __file__), 1, "no events"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(
    machine: Machine, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    found: Run = run(*arguments)
    assert found.status == status
    assert sentence in found.err


def test_commands_without_a_log_say_that_nothing_is_known(settings: Settings) -> None:
    settings.AUDIT_FILE = None
    found = run("exposure", *PERIOD, "--offline")
    assert found.status == 1
    assert "Nothing can be said about what was not recorded." in found.err


def made_line(**fields: object) -> bytes:
    event = {"writer": "w", "number": 1, "previous": "", "time": TIME, "event": "call", **fields}
    return json.dumps(event).encode()


TIME = "2023-11-14T22:00:00Z"
CODES = "\x1b[2J\u202e"
HOSTILE = {
    "codes for a terminal": made_line(writer=CODES, person=CODES, session=CODES, client=CODES),
    "half a character": made_line(writer="\ud800", person="\ud800"),
    "the year 1": made_line(time="0001-01-01T00:00:00+23:59", person="1"),
    "the year 9999": made_line(time="9999-12-31T23:59:59-23:59", person="1"),
    "a code within a time": made_line(time="2023-11-14\x1b22:00:00Z", person="1"),
    "an endless duration": made_line(person="1", duration_ms=10**999),
    "no duration": made_line(person="9" * 5000, duration_ms=math.nan),
    "heads": made_line(event="checkpoint", heads={CODES: [math.inf, "x"], "b": [True, "x"]}),
    "deep objects": b'{"a":' * 3000,
    "deep lists": b"[" * 16_000,
    "NUL": b"\0" * 100_000,
    "a long line": b"a" * 100_000,
}


@pytest.mark.django_db
@pytest.mark.parametrize("command", [("verify_audit",), ("exposure", *PERIOD)])
@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_neither_stops_nor_deceives_who_reads_it(
    tmp_path: Path, command: tuple[str, ...], line: bytes
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(made_line(writer="a") + b"\n" + line + b"\n" + line[:-1] + b"\n")
    shown = run(*command, "--offline", str(path)).out
    assert "a: 1 events" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe has its content once only: the second reading would find nobody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(CommandError, match="is not a file"):
            call_command("exposure", str(path), "--offline", *PERIOD)
