"""Sessions of Django's database engine, taken over all at once."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone

from sessions_kms import moving_in, moving_out
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.operations import ending
from sessions_kms.operations.old_engines import CHUNK, DatabaseEngine, load_engine
from sessions_kms.operations.session_import import AllEnded, Importer
from sessions_kms.services import id_of, services
from sessions_kms.session.links import LINKS
from tests.sessions_kms.support import old_engine
from tests.sessions_kms.support.old_engine import ENGINE, import_sessions, save_content
from tests.sessions_kms.support.sessions import save_changes, save_session, stored_item
from tests.sessions_kms.support.stacks import Stack

LINK = "a" * 64
WEEK = 7 * 24 * 3600
NOTHING = dict.fromkeys(
    (
        "imported", "there_already", "ended_meanwhile",
        "unreadable", "not_serializable", "too_large",
    ),
    0,
)  # fmt: skip

old = old_engine.in_use
pytestmark = pytest.mark.usefixtures("old")


def test_live_sessions_are_stored_under_the_keys_that_visitors_hold(stack: Stack) -> None:
    signed_in, anonymous = save_content(**{USER_ID: "7", "cart": [1]}), save_content(language="de")
    assert import_sessions("--from", ENGINE) == (
        NOTHING | {"imported": 2},
        0,
    )
    assert stored_item(signed_in) == {USER_ID: "7", "cart": [1]}
    assert stored_item(anonymous) == {"language": "de"}
    owners = {item["id"]["S"]: item.get("owner") for item in stack.sessions().values()}
    assert owners == {id_of(signed_in): {"S": "user#django#7"}, id_of(anonymous): None}


@pytest.mark.parametrize(("left", "ends_in"), [(3600, 3600), (30 * 24 * 3600, WEEK)])
def test_session_keeps_its_end_below_the_absolute_timeout(
    fake: Stack, left: int, ends_in: int
) -> None:
    session = DatabaseStore()
    session["a"] = 1
    session.set_expiry(datetime.fromtimestamp(fake.clock.now + left, UTC))
    session.save()
    import_sessions()
    (item,) = fake.sessions().values()
    assert abs(int(item["ttl"]["N"]) - (fake.clock.now + ends_in)) <= 2


def test_expired_session_is_left(fake: Stack) -> None:
    session = DatabaseStore()
    session["a"] = 1
    session.set_expiry(timezone.now() - timedelta(seconds=1))
    session.save()
    assert import_sessions()[0]["imported"] == 0
    assert fake.sessions() == {}


def test_command_may_be_run_again(stack: Stack) -> None:
    key = save_content(a=1)
    import_sessions()
    save_changes(key, a=2)
    assert import_sessions()[0] == NOTHING | {"there_already": 1}
    assert stored_item(key) == {"a": 2}


def test_more_rows_than_one_chunk_are_all_taken(fake: Stack) -> None:
    keys = {save_content(number=number) for number in range(CHUNK + 5)}
    assert import_sessions()[0]["imported"] == CHUNK + 5
    assert set(fake.sessions()) == {id_of(key) for key in keys}


def test_outage_in_the_middle_loses_nothing_and_the_next_run_finishes(fake: Stack) -> None:
    for number in range(CHUNK + 5):
        save_content(number=number)
    importer = Importer(fake.services, load_engine(ENGINE))
    taken = importer.import_all()
    assert next(taken) == CHUNK
    fake.dynamodb.unavailable = True
    with pytest.raises(StoreUnavailable):
        next(taken)
    fake.dynamodb.unavailable = False
    assert import_sessions()[0] == NOTHING | {"imported": 5, "there_already": CHUNK}


def test_sessions_that_cannot_be_imported_are_counted_and_change_the_exit_status(
    fake: Stack,
) -> None:
    from django.contrib.sessions.models import Session

    Session.objects.create(
        session_key="x" * 32, session_data="forged", expire_date=timezone.now() + timedelta(days=1)
    )
    save_content(large="x" * 500_000)
    good = save_content(a=1)
    counts, status = import_sessions()
    assert (counts["imported"], counts["unreadable"], counts["too_large"]) == (1, 1, 1)
    assert status == 3
    assert set(fake.sessions()) == {id_of(good)}


def test_dry_run_writes_nothing(fake: Stack) -> None:
    key = save_content(a=1)
    assert import_sessions("--dry-run") == ({"live": 1}, 0)
    assert fake.sessions() == {}
    assert old_engine.content(key) == {"a": 1}


@pytest.mark.parametrize(
    "engine", ["nowhere.at_all", "django.contrib.sessions.backends.signed_cookies", "json"]
)
def test_engine_without_rows_is_refused(fake: Stack, engine: str) -> None:
    with pytest.raises(CommandError):
        call_command("import_sessions", "--no-input", "--from", engine)


def test_missing_table_is_reported(fake: Stack) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_session RENAME TO elsewhere")
    try:
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("import_sessions", "--no-input")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO django_session")


def test_table_lost_in_the_middle_is_reported(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: Any) -> set[str]:
        raise OperationalError("server closed the connection")

    save_content(a=1)
    monkeypatch.setattr(DatabaseEngine, "live_keys", lose)
    with pytest.raises(CommandError, match=r"server closed.*Run it again") as caught:
        import_sessions()
    assert caught.value.returncode == 3


def test_import_after_an_end_of_all_sessions_must_be_asked_for(make_fake: Any) -> None:
    fake = make_fake(not_before=1)
    key = save_content(a=1)
    with pytest.raises(CommandError, match="ended"):
        import_sessions()
    assert fake.sessions() == {}
    assert import_sessions("--ignore-not-before")[0]["imported"] == 1
    assert stored_item(key) == {"a": 1}


def test_moment_too_far_ahead_to_count_stops_no_import(make_fake: Any) -> None:
    far = 10**11
    fake = make_fake(not_before=far)
    fake.put_item({"id": {"S": "not-before#django"}, "version": {"N": "1"},
                   "notBefore": {"N": str(far)}})  # fmt: skip
    key = save_content(a=1)
    assert import_sessions()[0]["imported"] == 1
    assert stored_item(key) == {"a": 1}


def test_row_stays_for_the_old_engines_processes(fake: Stack) -> None:
    key = save_content(a=1)
    import_sessions()
    assert old_engine.content(key) == {"a": 1}


def test_session_that_was_ended_after_the_import_is_not_imported_again(stack: Stack) -> None:
    key = save_content(a=1)
    import_sessions()
    SessionStore(key).delete()
    assert import_sessions()[0] == NOTHING | {"there_already": 1}
    assert moving_in.SessionStore(key).load() == {}


@pytest.mark.parametrize("end", ["signed out", "key changed"])
def test_session_that_ended_in_the_old_engine_meanwhile_is_not_brought_back(
    stack: Stack, end: str
) -> None:
    key = save_content(a=1)
    importer = Importer(stack.services, load_engine(ENGINE))
    (sessions,) = load_engine(ENGINE).sessions()
    outcomes = [importer.import_at(each, importer.get_start()) for each in sessions]
    old_process = DatabaseStore(key)
    if end == "signed out":
        old_process.flush()
    else:
        old_process.cycle_key()
    importer._settle(sessions, outcomes)
    assert importer.counts["ended meanwhile"] == 1
    assert stored_item(key) == {}


def test_session_that_ended_here_between_its_reading_and_its_sealing_stays_ended(
    stack: Stack,
) -> None:
    key = save_content(a=1)
    importer = Importer(stack.services, load_engine(ENGINE))
    (sessions,) = load_engine(ENGINE).sessions()
    visitor = moving_in.SessionStore(key)
    visitor.load()
    visitor.flush()
    assert [importer.import_at(each, importer.get_start()) for each in sessions] == [
        "there already"
    ]
    assert stored_item(key) == {}


def test_session_whose_key_was_changed_here_meanwhile_lives_on(stack: Stack) -> None:
    key = save_content(a=1)
    importer = Importer(stack.services, load_engine(ENGINE))
    (sessions,) = load_engine(ENGINE).sessions()
    outcomes = [importer.import_at(each, importer.get_start()) for each in sessions]
    visitor = moving_in.SessionStore(key)
    visitor.cycle_key()
    importer._settle(sessions, outcomes)
    assert importer.counts["imported"] == 1
    assert importer.counts["ended meanwhile"] == 0
    assert stored_item(str(visitor.session_key)) == {"a": 1}
    assert [importer.import_at(each, importer.get_start()) for each in sessions] == [
        "there already"
    ]
    with pytest.raises(SessionMoved):
        stored_item(key)


def test_end_of_all_sessions_during_an_import_applies_to_later_rows(make_fake: Any) -> None:
    fake = make_fake()
    keys = [save_content(number=number) for number in range(CHUNK + 5)]
    importer = Importer(fake.services, load_engine(ENGINE))
    taken = importer.import_all()
    next(taken)
    ending.end_before(services(), int(fake.clock.now))
    with pytest.raises(AllEnded):
        next(taken)
    fake.clock.advance(60)
    assert [key for key in keys if stored_item(key)] == []


def test_session_that_went_back_is_taken_over_again_with_its_links(stack: Stack) -> None:
    session = save_session("7", **{LINKS: [LINK]})
    key = str(session.session_key)
    assert moving_out.SessionStore(key)[USER_ID] == "7"
    for item_id in list(stack.items()):
        stack.delete_item(item_id)  # Their time is over.
    assert import_sessions()[0]["imported"] == 1
    assert stored_item(key) == {USER_ID: "7", LINKS: [LINK]}
    assert ending.end_linked(services(), LINK) == 1
    assert stored_item(key) == {}


def test_session_with_invalid_links_stays_valid_and_is_reported(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    key, other = save_content(**{USER_ID: "7", LINKS: ["https://example.org/"]}), save_content(a=1)
    with caplog.at_level(logging.WARNING, "sessions_kms"):
        assert import_sessions() == (NOTHING | {"imported": 2}, 0)
    assert f"{id_of(key)[:8]}...: the value under '{LINKS}' is not a list" in caplog.text
    assert id_of(other)[:8] not in caplog.text
    save_changes(key, b=1)
    assert stored_item(key) == {USER_ID: "7", LINKS: ["https://example.org/"], "b": 1}
