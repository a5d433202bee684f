"""`check_session_store`: green on a good store; readable, and of use to programs."""

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from sessions_kms import doctor
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.doctor import Finding
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.check_ids import CHECKS
from tests.sessions_kms.support.checked_store import (
    NOT_HERE,
    Store,
    check,
    client,
    troubles,
    without_rotation,
)
from tests.sessions_kms.support.stacks import on_aws

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store


class Terminal(io.StringIO):
    """What a person sits at."""

    def isatty(self) -> bool:
        return True


def run_check(*options: str, to: io.StringIO | None = None) -> str:
    out = to or io.StringIO()
    call_command("check_session_store", *options, stdout=out)
    return out.getvalue()


def turn_rotation_off(store: Store) -> None:
    store.key = without_rotation()
    store.configure()


@on_aws
def test_good_store_has_every_finding_and_nothing_is_left_in_it(store: Store) -> None:
    status, report = check()
    assert status == 0
    assert [each["name"] for each in report["checks"]] == CHECKS
    assert troubles(canary=True) == {}
    assert store.sessions() == []


@servers
def test_look_without_a_canary_writes_nothing(store: Store) -> None:
    _, report = check("--no-canary")
    assert [each["name"] for each in report["checks"]] == [
        name for name in CHECKS if not name.startswith("canary")
    ]
    assert store.items() == []


@servers
def test_exit_status_reflects_warnings_only_when_strict(store: Store) -> None:
    turn_rotation_off(store)
    assert check()[0] == 0
    assert check("--strict")[0] == 4
    client("kms").disable_key(KeyId=store.key_id)
    assert check()[0] == 1
    assert check("--strict")[0] == 1


@servers
def test_text_is_a_line_for_each_finding_and_one_of_figures(store: Store) -> None:
    lines = run_check().splitlines()
    assert [line[5:].partition(": ")[0] for line in lines if line.startswith("ok   ")] == [
        name for name in CHECKS if name not in NOT_HERE
    ]
    assert re.fullmatch(r"Measured: data key [\d.]+ ms, create .* ms; KMS calls: 2", lines[-3])
    assert lines[-2] == (
        "Not checked here: the SQL database (`manage.py check --database default`),"
        " the providers (`manage.py check_providers`)"
    )
    assert lines[-1] == f"{len(CHECKS) - 2} ok, 2 warnings, 0 failing"


@servers
def test_text_of_a_fault_has_its_remedy(store: Store) -> None:
    turn_rotation_off(store)
    lines = run_check("--no-canary").splitlines()
    at = lines.index("WARN kms key rotation: off")
    assert lines[at + 1] == f"     `aws kms enable-key-rotation --key-id {store.key_id}`"


@servers
def test_marks_are_coloured_on_a_terminal(store: Store) -> None:
    turn_rotation_off(store)
    out = Terminal()
    call_command("check_session_store", "--no-canary", "--force-color", stdout=out)
    plain = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert re.search(r"\x1b\[[\d;]*mWARN\x1b\[0m kms key rotation: off", out.getvalue())
    marks = {row.split()[0] for row in plain.splitlines() if not row.startswith(" ")}
    assert (
        {"ok", "WARN"}
        <= marks
        <= {"ok", "WARN", "FAIL", "Measured:", "Not"} | {m for m in marks if m.isdigit()}
    )


@servers
def test_colours_are_left_out_on_demand(store: Store) -> None:
    out = Terminal()
    call_command("check_session_store", "--no-canary", "--no-color", stdout=out)
    assert not re.search(r"\x1b\[(3|9)\d", out.getvalue())


@servers
def test_findings_are_printed_as_they_are_made_and_kept_when_it_is_interrupted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    seen: list[str] = []

    def interrupt() -> Iterator[Finding]:
        seen.append(out.getvalue())
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "not_before_findings", interrupt)
    with pytest.raises(SystemExit) as ended:
        call_command("check_session_store", stdout=out)
    assert ended.value.code == 1
    assert "\nok   clock: " in seen[0]
    assert out.getvalue().startswith(seen[0] + "FAIL interrupted: some checks did not run\n")
    status, report = check("--no-canary")
    assert status == 1
    assert [each["name"] for each in report["checks"]][-2:] == ["clock", "interrupted"]


@servers
def test_unchecked_items_are_listed_after_the_time_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sessions_kms.management.commands.check_session_store.SECONDS", deadline.LEAST / 2
    )
    assert "rights on the table, " in troubles(canary=True)["not checked"].detail


@servers
def test_json_is_one_object_and_nothing_else_on_a_terminal(store: Store) -> None:
    assert run_check("--json", to=Terminal()).count("\n") == 1


@on_aws
def test_output_and_log_contain_neither_the_canary_nor_its_key(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secrets: list[Any] = []
    create = SessionStore.create

    def recording(session: SessionStore) -> None:
        create(session)
        secrets.extend([session.session_key, session["canary"]])

    monkeypatch.setattr(SessionStore, "create", recording)
    with caplog.at_level(logging.DEBUG, logger="sessions_kms"):
        text = run_check() + run_check("--json")
    assert len(secrets) == 4
    for secret in secrets:
        assert secret not in text
        assert secret not in caplog.text
