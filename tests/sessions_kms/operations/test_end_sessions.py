"""`end_sessions` as an operator runs it: by user and by moment."""

import io
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.db.models import QuerySet
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.aws.clock import ServerClock
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.operations import purging as clearing
from sessions_kms.operations import users
from sessions_kms.signals import session_ended
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.support.commands import end, run
from tests.sessions_kms.support.memory_dynamodb import after, pass_unharmed, refuse_write
from tests.sessions_kms.support.sessions import id_of_record, is_alive, save_session
from tests.sessions_kms.support.stacks import Stack, install, on_aws, running_as
from tests.sessions_kms.support.stepping import as_coroutine
from tests.support.signals import connect_receiver, record_signal

NOW = 1_800_000_000
PERIOD = NOW - NOW % 86_400


def of_namespace(stack: Stack, namespace: str, user: str | None = None) -> None:
    """Save a session of another project that shares the table and the KMS key."""
    config = replace(stack.config, namespace=namespace)
    with running_as(services.build(config, clock=stack.clock)):
        save_session(user)


class Unanswering:
    """A keyring whose KMS is not reached."""

    async def unwrap(self, encrypted: bytes, period: int) -> Any:
        raise KMSUnavailable

    generate = unwrap


# Everything until a moment


def test_sessions_until_the_moment_are_over_and_gone_and_later_ones_stay(stack: Stack) -> None:
    old = [save_session(), save_session("7")]
    stack.clock.advance(5)
    new = [save_session(), save_session("7")]
    done = end("--before", str(NOW), "--json")
    assert (done.status, done.json["deleted"]) == (0, 2)
    assert (done.json["moment"], done.json["raised"]) == (NOW, True)
    assert [is_alive(session) for session in old + new] == [False, False, True, True]
    assert len(stack.sessions()) == 2


@pytest.mark.parametrize("time", ["2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00"])
def test_time_may_be_written_as_a_date(fake: Stack, time: str) -> None:
    session = save_session()
    assert end("--before", time).status == 0
    assert not is_alive(session)


def test_all_ends_every_session_created_until_now(stack: Stack) -> None:
    save_session(), save_session("7")
    done = end("--all", "--json")
    assert (done.json["moment"], done.json["deleted"]) == (NOW, 2)
    assert stack.sessions() == {}


@pytest.fixture
def seven(db: None) -> None:
    """Make the user 7, ada, who has no session."""
    get_user_model().objects.create(pk=7, username="ada", email="ada@example.com")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("8", "No user has the id 8, and no session belongs to it."),
        ("ada", "Did you mean 7 (ada)?"),
        ("ADA@example.com", "Did you mean 7 (ada)?"),
        ("adda", "Did you mean 7 (ada)?"),
        ("nobody\x1b[31m", r"the id 'nobody\x1b[31m', and"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_unknown_user_is_refused_with_the_nearest(
    fake: Stack, seven: None, given: str, expected: str, more: list[str]
) -> None:
    done = end("--user", given, *more)
    assert done.status == 2
    assert expected in done.err
    assert not done.out


def test_known_user_without_sessions_is_done(fake: Stack, seven: None) -> None:
    assert end("--user", "7").status == 0


def test_sessions_of_a_user_who_was_deleted_are_ended(fake: Stack, db: None) -> None:
    save_session("8")
    assert end("--user", "8", "--json").json["ended"] == 1


def test_database_out_of_reach_is_no_reason_not_to_end_sessions(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> Any:
        raise OperationalError

    monkeypatch.setattr("sessions_kms.operations.users.get_users", down)
    assert end("--user", "8").status == 0


# An account, and deactivating


@pytest.fixture
def account(seven: None) -> None:
    """Give ada the account 1001 at corp."""
    SocialAccount.objects.create(user_id=7, provider="corp", uid="1001")


def is_active() -> bool:
    return bool(get_user_model().objects.get(pk=7).is_active)


def test_user_is_found_by_their_account(fake: Stack, account: None) -> None:
    others = save_session("8")
    session = save_session("7")
    done = end("--account", "corp", "1001", "--json")
    expected = {"user": "7", "account": {"provider": "corp", "subject": "1001"}, "ended": 1}
    assert (done.status, done.json) == (0, expected)
    assert (is_alive(session), is_alive(others), is_active()) == (False, True, True)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (("corp", "1002"), "Nobody has signed in with 1002 at corp. Did you mean 1001?"),
        (("crop", "1001"), "There is no account at a provider crop. Did you mean corp?"),
    ],
)
def test_unknown_account_is_refused_with_the_nearest(
    fake: Stack, account: None, named: tuple[str, str], expected: str
) -> None:
    session = save_session("7")
    done = end("--account", *named, "--deactivate")
    assert (done.status, expected in done.err) == (2, True)
    assert is_alive(session)
    assert is_active()


@pytest.mark.parametrize("which", [["--user", "7"], ["--account", "corp", "1001"]])
def test_user_is_deactivated_before_their_sessions_end(
    fake: Stack, account: None, which: list[str]
) -> None:
    session, states = save_session("7"), list[bool]()

    def note(**_: Any) -> None:
        states.append(is_active())

    with connect_receiver(session_ended, note):
        done = end(*which, "--deactivate")
        again = end(*which, "--deactivate", "--json")
    assert (done.status, states) == (0, [False])
    assert done.out.strip() == "User 7 is now deactivated. Ended 1 live sessions."
    assert (again.json["deactivated"], again.json["ended"]) == (False, 0)
    assert not is_alive(session)


def test_deactivating_changes_nothing_else_of_the_user(
    fake: Stack, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may withdraw rights at the same moment."""
    model = get_user_model()

    def withdraw(user: Any, *_: Any) -> None:
        refresh(user)
        model.objects.filter(pk=7).update(is_staff=False)

    refresh = model.refresh_from_db
    model.objects.filter(pk=7).update(is_staff=True)
    monkeypatch.setattr(model, "refresh_from_db", withdraw)
    assert end("--user", "7", "--deactivate").status == 0
    assert list(model.objects.filter(pk=7).values_list("is_active", "is_staff")) == [(False, False)]


def test_dry_run_shows_both_parts_and_does_neither(fake: Stack, account: None) -> None:
    session = save_session("7")
    done = end("--user", "7", "--deactivate", "--dry-run")
    assert "Would deactivate user 7, and end 1 sessions of user 7" in done.out
    shown = end("--user", "7", "--deactivate", "--dry-run", "--json").json
    assert (shown["would_deactivate"], shown["found"]) == (True, 1)
    assert is_alive(session)
    assert is_active()


def test_store_that_fails_leaves_the_user_deactivated_and_the_work_incomplete(
    fake: Stack, account: None
) -> None:
    save_session("7")
    assert fake.memory is not None
    fake.memory.unavailable = True
    done = end("--user", "7", "--deactivate")
    told = end("--user", "7", "--deactivate", "--json")
    fake.memory.heal()
    assert (done.status, told.status) == (3, 3)
    assert told.json == {"user": "7", "deactivated": False, "ended": None}
    assert "User 7 is now deactivated. Run the same command again to continue." in done.err
    assert not is_active()
    assert end("--user", "7", "--deactivate", "--json").json["ended"] == 1


def test_database_that_fails_is_told_before_anything_is_done(
    fake: Stack, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> Any:
        raise OperationalError("connection refused")

    session = save_session("7")
    monkeypatch.setattr("sessions_kms.operations.users.get_users", down)
    done = end("--user", "7", "--deactivate")
    assert done.status == 1
    assert "connection refused. Check that its server runs" in done.err
    assert "Nothing was done. `--user` without --deactivate" in done.err
    assert is_alive(session)


def test_sessions_of_a_deleted_user_end_although_nobody_can_be_deactivated(
    fake: Stack, db: None
) -> None:
    save_session("8")
    done = end("--user", "8", "--deactivate")
    assert done.status == 0
    assert "No user has this id, so nobody was deactivated. Ended 1 live sessions." in done.out


def test_account_is_found_by_its_exact_subject_in_a_database_that_ignores_case(
    fake: Stack, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignore_case(rows: Any, **wanted: Any) -> Any:
        names = {"provider": "provider__iexact", "uid": "uid__iexact"}
        return select(rows, **{names.get(name, name): each for name, each in wanted.items()})

    select = QuerySet.filter
    SocialAccount.objects.create(user_id=7, provider="corp", uid="Ada")
    monkeypatch.setattr(QuerySet, "filter", ignore_case)
    assert end("--account", "corp", "ada", "--deactivate").status == 2
    assert end("--account", "CORP", "Ada", "--deactivate").status == 2
    assert is_active()
    assert end("--account", "corp", "Ada", "--deactivate").status == 0


def test_sessions_end_of_a_user_who_is_deleted_meanwhile(
    fake: Stack, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(user: Any) -> bool:
        get_user_model().objects.filter(pk=7).delete()
        return deactivate(user)

    deactivate = users.deactivate
    session = save_session("7")
    monkeypatch.setattr(users, "deactivate", delete)
    done = end("--account", "corp", "1001", "--deactivate", "--json")
    assert (done.status, done.json["deactivated"], done.json["ended"]) == (0, False, 1)
    assert not is_alive(session)


def test_user_whom_the_default_manager_hides_is_deactivated(
    fake: Stack, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Projects hide users there, such as those who left; allauth still finds their accounts."""
    model = get_user_model()
    nobody = model.objects.none()
    with monkeypatch.context() as hiding:
        hiding.setattr(model._default_manager, "get_queryset", lambda: nobody, raising=False)
        assert end("--account", "corp", "1001", "--deactivate", "--json").json["deactivated"]
    assert not is_active()


@pytest.mark.parametrize("subject", ["\udcff", "1" * 5000, "' OR 1=1 --", "\uff11001", "1001 "])
def test_lookalike_or_hostile_subject_is_nobody(fake: Stack, account: None, subject: str) -> None:
    done = end("--account", "corp", subject, "--deactivate")
    assert (done.status, "Nobody has signed in with" in done.err) == (2, True)
    assert end("--account", "CORP", "1001", "--deactivate").status == 2
    assert is_active()


def test_deactivating_requires_a_user_model_with_that_field(
    fake: Stack, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "ACTIVE", "is_enabled")
    session = save_session("7")
    done = end("--user", "7", "--deactivate")
    assert (done.status, "a user model with the field is_active" in done.err) == (2, True)
    assert is_alive(session)


@pytest.mark.parametrize("which", [["--all"], ["--client", "app"], ["--key-period", "0"]])
def test_deactivating_requires_a_user(fake: Stack, which: list[str]) -> None:
    done = end(*which, "--deactivate")
    assert (done.status, "requires --user or --account" in done.err) == (2, True)


def test_account_is_no_option_without_allauth(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", lambda name: "allauth" not in name)
    done = end("--account", "corp", "1001")
    assert (done.status, "Choose one of --user" in done.err) == (2, True)


@pytest.mark.parametrize("which", [["--all"], ["--user", "7"], ["--all", "--dry-run"]])
def test_sessions_of_another_engine_are_not_said_to_have_ended(
    fake: Stack, settings: Settings, seven: None, which: list[str]
) -> None:
    assert "SESSION_ENGINE" not in end(*which).out
    settings.SESSION_ENGINE = "sessions_kms.moving_out"
    assert "rows of django_session" in end(*which).out
    done = end(*which, "--json")
    assert (bool(done.json), "does not end" in done.err) == (True, True)


def test_rows_not_yet_imported_are_not_reported_as_ended(
    fake: Stack, settings: Settings, seven: None
) -> None:
    settings.SESSION_ENGINE = "sessions_kms.moving_in"
    assert "only in the old engine are not ended" in end("--user", "7").out
    assert "are not ended" not in end("--all").out  # No row is imported after that.


def test_sessions_have_ended_before_the_first_is_deleted(fake: Stack) -> None:
    sessions = [save_session() for _ in range(3)]
    seen: list[bool] = []

    def look() -> None:
        seen.append(any(is_alive(session) for session in sessions))

    fake.dynamodb.on("DeleteItem session", after(look))
    end("--all")
    assert seen == [False] * 3


def test_deletion_can_be_left_to_ttl(stack: Stack) -> None:
    session = save_session()
    done = end("--all", "--no-delete")
    assert "Nothing was deleted" in done.out
    assert not is_alive(session)
    assert len(stack.sessions()) == 1


def test_second_run_does_the_same_and_changes_nothing(stack: Stack) -> None:
    save_session()
    first, second = [end("--before", str(NOW), "--json").json for _ in range(2)]
    assert (first["raised"], first["deleted"]) == (True, 1)
    assert (second["raised"], second["deleted"]) == (False, 0)


@on_aws
def test_sessions_of_another_namespace_stay(stack: Stack) -> None:
    of_namespace(stack, "shop")
    of_namespace(stack, "shop", "7")
    save_session(), save_session("7")
    assert end("--all", "--json").json["deleted"] == 2
    assert len(stack.sessions()) == 2


def test_session_that_began_meanwhile_is_not_deleted(fake: Stack) -> None:
    # Signed in again under the same key, between the page and the delete.
    session = save_session()
    session_id = next(iter(fake.sessions()))

    def begin() -> None:
        fake.put_item(fake.items()[session_id] | {"createdAt": {"N": str(NOW + 1)}})

    fake.dynamodb.on("DeleteItem session", after(begin))
    assert end("--all", "--json").json["deleted"] == 0
    assert session_id in fake.sessions()
    assert session.session_key


def test_items_of_other_kinds_stay(stack: Stack) -> None:
    save_session()
    others = {name for name in stack.items() if "#" in name}
    end("--all")
    assert {name for name in stack.items() if "#" in name} == others | {"not-before#django"}


def test_interruption_reports_how_to_continue(fake: Stack) -> None:
    save_session()

    def interrupt(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    fake.dynamodb.on("DeleteItem session", interrupt)
    done = end("--all")
    assert done.status == 3
    assert f"manage.py end_sessions --before {NOW}" in done.err
    fake.dynamodb.heal()
    assert end("--before", str(NOW), "--json").json["deleted"] == 1


@pytest.mark.parametrize("arguments", [["--all"], ["--all", "--dry-run"]])
def test_interruption_before_the_first_delete_is_reported(
    fake: Stack, arguments: list[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    save_session()
    fake.dynamodb.on("DescribeTable", interrupt)
    done = end(*arguments)
    assert (done.status, "Run the same command again" in done.err) == (3, True)
    assert len(fake.sessions()) == 1


def test_faulty_settings_are_reported_without_a_traceback(settings: Settings) -> None:
    settings.SESSIONS_KMS = {"KEY_ID": "alias/sessions", "TABLE_NAME": "sessions"}
    done = end("--all")
    assert (done.status, "SESSIONS_KMS['KEY_ID'] must be the ARN" in done.err) == (1, True)


def test_outage_halfway_reports_how_to_continue(fake: Stack) -> None:
    save_session()
    fake.dynamodb.on("DeleteItem session", refuse_write)
    done = end("--all")
    assert (done.status, "have ended" in done.err) == (3, True)


def test_call_that_fails_for_a_moment_is_tried_again(fake: Stack) -> None:
    save_session()
    failures = iter([refuse_write, refuse_write])

    def fail_first(handle: Handle) -> Any:
        return next(failures, pass_unharmed)(handle)

    fake.dynamodb.on("DeleteItem session", fail_first)
    assert end("--all", "--json").json["deleted"] == 1


def test_unreachable_from_the_start_nothing_is_done(fake: Stack) -> None:
    save_session()
    fake.dynamodb.unavailable = True
    done = end("--all")
    assert done.status == 1
    assert "cannot be used" in done.err
    assert len(fake.sessions()) == 1


def test_ended_sessions_are_announced_and_expired_ones_are_not(fake: Stack) -> None:
    expired = save_session()
    expired.set_expiry(10)
    expired.save()
    fake.clock.advance(60)
    save_session()
    with record_signal(session_ended) as received:
        end("--all")
    assert len(received) == 1
    assert fake.sessions() == {}


# One user


def test_sessions_of_one_user_end(stack: Stack) -> None:
    theirs, others = [save_session("7"), save_session("7")], [save_session("8"), save_session()]
    done = end("--user", "7", "--json")
    assert done.json == {"user": "7", "ended": 2}
    assert [is_alive(session) for session in theirs + others] == [False, False, True, True]


def test_user_whose_sessions_go_on_beginning_is_not_called_signed_out(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fake.services.queries,
        "owned_ids",
        as_coroutine(lambda _: [id_of_record(save_session("7"))]),
    )
    done = end("--user", "7")
    assert done.status == 3
    assert "keep beginning" in done.err
    assert "Run the same command again" in done.err


# Asking, and what is refused


@pytest.mark.parametrize("which", [["--user", "7"], ["--all"], ["--key-period", str(PERIOD)]])
def test_dry_run_changes_nothing_and_reports_what_it_would_do(
    stack: Stack, which: list[str]
) -> None:
    save_session("7")
    before = stack.items()
    done = run("end_sessions", "--dry-run", *which)
    assert (done.status, done.out.startswith("Would end")) == (0, True)
    assert stack.items() == before


class Terminal(io.StringIO):
    """Where somebody types this; at its end they press Ctrl-D."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_done_without_confirmation(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    save_session()
    for typed, status, left in [("", 1, 1), ("\n", 1, 1), ("no\n", 1, 1), ("y\n", 0, 0)]:
        monkeypatch.setattr(sys, "stdin", Terminal(typed))
        done = run("end_sessions", "--all")
        assert (done.status, len(fake.sessions())) == (status, left)
        assert ("Nothing was done." in done.err) == bool(left)


def test_ctrl_c_at_the_question_does_nothing(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> str:
        raise KeyboardInterrupt

    save_session()
    terminal = Terminal()
    monkeypatch.setattr(terminal, "readline", interrupt)
    monkeypatch.setattr(sys, "stdin", terminal)
    done = run("end_sessions", "--all")
    assert (done.status, "Nothing was done." in done.err, len(fake.sessions())) == (1, True, 1)


def test_prompt_is_not_written_to_stdout(
    fake: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_session()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    done = run("end_sessions", "--all", "--json")
    assert done.json["deleted"] == 1
    assert "[y/N]" in done.err
    assert capsys.readouterr().out == ""


def test_noninteractive_run_requires_no_input(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    save_session()
    done = run("end_sessions", "--all")
    assert (done.status, "--no-input" in done.err, len(fake.sessions())) == (1, True, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Choose one of --user, "),
        (["--all", "--user", "7"], "not allowed"),
        (["--before", str(NOW + 1)], "future"),
        (["--before", "yesterday"], "says its zone"),
        (["--before", "2027-01-15T08:00:00"], "says its zone"),
        (["--user", ""], "--user must be"),
        (["--user", "7", "--no-delete"], "--no-delete requires"),
        (["--all", "--provider", "corp"], "--provider requires --before"),
        (["--before", "1", "--provider", "crop"], "Unknown provider crop"),
        (["--all", "--again"], "--again requires"),
    ],
)
def test_contradictory_options_are_rejected_and_nothing_is_done(
    fake: Stack, arguments: list[str], said: str
) -> None:
    save_session("7")
    done = end(*arguments)
    assert done.status == 2
    assert said in done.err
    assert len(fake.sessions()) == 1
    assert "not-before#django" not in fake.items()


# Going through the table


def test_session_unreadable_without_kms_is_kept_and_reported(fake: Stack) -> None:
    save_session(), save_session("7")
    fake.services.keyring._keyring = Unanswering()  # type: ignore[attr-defined]
    fake.clock.advance(3600)
    done = end("--all", "--json")
    assert (done.status, done.json["deleted"], done.json["doubtful"]) == (3, 1, 1)
    assert len(fake.sessions()) == 1


def test_pages_are_followed_to_the_end(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_kms.operations.table_scan.ITEMS", 3)
    for _ in range(10):
        save_session()
    assert end("--all", "--json").json["deleted"] == 10
    assert clearing.Clearing(fake.services).cleared.scanned == 0


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
def test_moment_that_only_this_clock_calls_past_is_refused(stack: Stack) -> None:
    real = time.time
    stack.clock.now = real() + 24 * 3600
    install(services.build(stack.config, clock=ServerClock(stack.clock)))
    refused = end("--all")
    assert refused.status == 2
    assert "ahead of AWS's" in refused.err
    assert "not-before#django" not in stack.items()
    assert end("--before", str(int(real()) - 10), "--no-delete").status == 0
