"""The change to ours while the site runs: each session is taken over when it is first read."""

import logging
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import OperationalError
from django.test import RequestFactory

from sessions_kms import moving_in
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.operations.old_engines import DatabaseEngine
from sessions_kms.services import id_of
from tests.sessions_kms.support import old_engine
from tests.sessions_kms.support.leaks import Secrets, error_of, in_error, in_reports
from tests.sessions_kms.support.old_engine import save_content
from tests.sessions_kms.support.sessions import stored_item
from tests.sessions_kms.support.stacks import Stack

old = old_engine.in_use
pytestmark = pytest.mark.usefixtures("old")


def test_session_of_the_old_engine_is_taken_over_when_it_is_read(stack: Stack) -> None:
    key = save_content(**{USER_ID: "7", "a": 1})
    session = moving_in.SessionStore(key)
    assert dict(session.items()) == {USER_ID: "7", "a": 1}
    session["b"] = 2
    session.save()
    assert stored_item(key) == {USER_ID: "7", "a": 1, "b": 2}


def test_unknown_key_is_no_session_in_either(stack: Stack) -> None:
    session = moving_in.SessionStore("y" * 32)
    assert session.load() == {}
    assert session.session_key is None
    assert stack.sessions() == {}


def test_two_first_requests_at_once_both_have_the_session(stack: Stack) -> None:
    key = save_content(a=1)
    first, second = moving_in.SessionStore(key), moving_in.SessionStore(key)
    first["b"], second["c"] = 1, 1
    first.save()
    second.save()
    assert stored_item(key) == {"a": 1, "b": 1, "c": 1}


def test_signed_out_session_is_dead_in_both(stack: Stack) -> None:
    key = save_content(a=1)
    session = moving_in.SessionStore(key)
    session.load()
    session.flush()
    assert old_engine.content(key) == {}
    assert moving_in.SessionStore(key).load() == {}


def test_former_key_is_dead_in_both(stack: Stack) -> None:
    key = save_content(a=1)
    session = moving_in.SessionStore(key)
    session.cycle_key()
    assert session.session_key != key
    with pytest.raises(SessionMoved):
        moving_in.SessionStore(key).load()
    stack.clock.advance(15)
    assert moving_in.SessionStore(key).load() == {}
    assert dict(moving_in.SessionStore(session.session_key).items()) == {"a": 1}


def test_session_that_was_ended_in_the_table_is_not_revived_by_its_row(stack: Stack) -> None:
    key = save_content(a=1)
    assert dict(moving_in.SessionStore(key).items()) == {"a": 1}
    stack.delete_item(id_of(key))
    assert old_engine.content(key)["a"] == 1
    assert moving_in.SessionStore(key).load() == {}
    assert not moving_in.SessionStore().exists(key)


def test_sign_in_at_an_old_process_after_the_move_is_taken_over(fake: Stack) -> None:
    key = save_content(a=1)
    moving_in.SessionStore(key).load()
    old_process = DatabaseStore(key)
    old_process[USER_ID] = "7"
    old_process.cycle_key()
    session = moving_in.SessionStore(old_process.session_key)
    assert session[USER_ID] == "7"


def test_no_old_session_is_read_after_an_end_of_all_sessions(make_fake: Any) -> None:
    make_fake(not_before=1)
    key = save_content(a=1)
    assert moving_in.SessionStore(key).load() == {}


def test_session_exists_in_either(fake: Stack) -> None:
    there, here = save_content(a=1), SessionStore()
    here.save()
    assert moving_in.SessionStore().exists(there)
    assert moving_in.SessionStore().exists(str(here.session_key))
    assert not moving_in.SessionStore().exists("z" * 32)


def test_outage_of_the_table_is_no_reason_to_read_the_old_engine(fake: Stack) -> None:
    key = save_content(a=1)
    moving_in.SessionStore(key).load()
    fake.dynamodb.unavailable = True
    with pytest.raises(StoreUnavailable):
        moving_in.SessionStore(key).load()


def fail(*_: object) -> None:
    raise OperationalError


def test_key_is_changed_although_the_old_row_cannot_be_ended(
    fake: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = save_content(a=1)
    session = moving_in.SessionStore(key)
    session.load()
    monkeypatch.setattr(DatabaseEngine, "end", fail)
    with caplog.at_level(logging.WARNING, "sessions_kms"):
        session.cycle_key()
    assert id_of(key)[:8] in caplog.text
    assert key not in caplog.text
    assert stored_item(str(session.session_key)) == {"a": 1}
    assert old_engine.is_there(key)
    fake.clock.advance(15)
    assert moving_in.SessionStore(key).load() == {}


def test_sign_out_whose_row_cannot_be_ended_fails_and_ends_the_session(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = save_content(a=1)
    monkeypatch.setattr(DatabaseEngine, "end", fail)
    with pytest.raises(OperationalError):
        moving_in.SessionStore().delete(key)
    assert moving_in.SessionStore(key).load() == {}


def test_outage_in_a_key_change_shows_no_key(fake: Stack) -> None:
    key = save_content(a=1)
    session = moving_in.SessionStore(key)
    session.load()
    fake.dynamodb.unavailable = True
    raised = error_of(session.cycle_key)
    assert isinstance(raised, StoreUnavailable)
    secrets = Secrets()
    secrets.add("session key", key)
    assert (
        in_error(raised, secrets) | in_reports(raised, RequestFactory().get("/"), secrets) == set()
    )
