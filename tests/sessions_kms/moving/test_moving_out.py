"""Moving back to a database engine: each session becomes a row at its visitor's next request."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as live_settings
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends import cached_db
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sessions_kms import backend, moving_in, moving_out
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.operations.session_import import mark_id
from sessions_kms.services import id_of
from sessions_kms.session import next_cookie
from tests.sessions_kms.support import old_engine
from tests.sessions_kms.support.old_engine import save_content
from tests.sessions_kms.support.sessions import save_changes, save_session, saved_key, stored_item
from tests.sessions_kms.support.stacks import Stack, install
from tests.support.clock import FakeClock

old = old_engine.in_use
pytestmark = pytest.mark.usefixtures("old")


class CachedStore(moving_out.MovingOut, cached_db.SessionStore):
    """As docs/migration.md says for `cached_db`."""


def test_sealed_session_moves_back_when_it_is_read(stack: Stack) -> None:
    ours = save_session("7", a=1)
    key = str(ours.session_key)
    back = moving_out.SessionStore(key)
    assert dict(back.items()) == {USER_ID: "7", "a": 1}
    assert back.session_key == key
    assert old_engine.content(key) == {USER_ID: "7", "a": 1}
    assert stored_item(key) == {}


def test_session_whose_key_was_just_changed_asks_for_a_retry(stack: Stack) -> None:
    ours = SessionStore(saved_key(a=1))
    key = str(ours.session_key)
    ours.cycle_key()
    back = moving_out.SessionStore(key)
    with pytest.raises(SessionMoved):
        back.load()
    assert back.session_key == key
    stack.clock.advance(15)
    assert back.load() == {}
    assert moving_out.SessionStore(ours.session_key).load() == {"a": 1}


def test_session_found_by_the_next_cookie_moves_back(fake: Stack) -> None:
    ours = SessionStore(saved_key(a=1))
    key = str(ours.session_key)
    ours.cycle_key()
    new = str(ours.session_key)
    request = HttpRequest()
    name = live_settings.SESSION_COOKIE_NAME
    named = f"{name}-next-{id_of(new)[:8]}"
    request.COOKIES |= {name: key, named: f"{new}.{id_of(key)[:8]}"}
    with next_cookie.keys_of(request) as keys:
        back = moving_out.SessionStore(key)
        assert back["a"] == 1
        assert back.session_key == new
        response = keys.set_cookies(HttpResponse())
    assert response.cookies[name].value == new
    assert old_engine.content(new) == {"a": 1}


def test_row_of_the_old_engine_takes_precedence_when_moving_back(fake: Stack) -> None:
    key = save_content(a=1)
    assert dict(moving_out.SessionStore(key).items()) == {"a": 1}


def test_unknown_key_is_no_session_on_the_way_back(fake: Stack) -> None:
    session = moving_out.SessionStore("y" * 32)
    assert session.load() == {}
    assert session.session_key is None


def test_outage_when_moving_back_keeps_everyone_signed_in(fake: Stack) -> None:
    ours = save_session(a=1)
    fake.dynamodb.unavailable = True
    back = moving_out.SessionStore(ours.session_key)
    with pytest.raises(StoreUnavailable):
        back.load()


def test_two_first_requests_on_the_way_back_both_have_the_session(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = saved_key(a=1)
    put = moving_out.MovingOut._put
    between = iter([moving_out.SessionStore(key).load])

    def after_another(*args: Any) -> bool:
        for request in between:
            assert request() == {"a": 1}
        return put(*args)

    monkeypatch.setattr(moving_out.MovingOut, "_put", after_another)
    first = moving_out.SessionStore(key)
    assert dict(first.items()) == {"a": 1}
    assert first.session_key == key
    assert next(between, None) is None


def test_signed_out_session_is_dead_in_both_on_the_way_back(stack: Stack) -> None:
    ours = save_session(a=1)
    key = str(ours.session_key)
    moving_out.SessionStore(key).flush()
    assert stored_item(key) == {}
    assert moving_out.SessionStore(key).load() == {}


def test_row_that_an_old_process_changes_meanwhile_is_not_taken_for_the_session(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = save_content(a=1)
    moving_in.SessionStore(key).load()
    put = moving_out.MovingOut._put

    def after_a_change(*args: Any) -> bool:
        monkeypatch.undo()
        old_process = DatabaseStore(key)
        old_process["a"] = 2
        old_process.save()
        return put(*args)

    monkeypatch.setattr(moving_out.MovingOut, "_put", after_a_change)
    assert dict(moving_out.SessionStore(key).items()) == {"a": 1}
    assert old_engine.content(key) == {"a": 1}


def test_session_that_others_change_all_the_time_is_unavailable(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, steady = saved_key(a=1), FakeClock(0.0)
    install(replace(fake.services, write_queues=WriteQueues(steady), sleep=steady.advance))
    monkeypatch.setattr(moving_out.MovingOut, "_put", lambda *_: False)
    with pytest.raises(StoreUnavailable):
        moving_out.SessionStore(key).load()
    monkeypatch.undo()
    assert stored_item(key) == {"a": 1}


def test_session_that_outlived_its_old_row_moves_back(fake: Stack) -> None:
    key = save_content(a=1)
    moving_in.SessionStore(key).load()
    expire_row(key)
    assert dict(moving_out.SessionStore(key).items()) == {"a": 1}
    assert old_engine.content(key) == {"a": 1}


def expire_row(key: str) -> None:
    from django.contrib.sessions.models import Session

    Session.objects.filter(session_key=key).update(
        expire_date=timezone.now() - timedelta(seconds=1)
    )


def test_key_of_another_form_is_the_old_engines_own(fake: Stack) -> None:
    row = DatabaseStore("Another-Form")
    row["a"] = 1
    row._session_key = "Another-Form"  # Loading it found none.
    row.save(must_create=True)
    assert dict(moving_out.SessionStore("Another-Form").items()) == {"a": 1}
    moving_out.SessionStore().delete("Another-Form")
    assert old_engine.content("Another-Form") == {}
    assert fake.dynamodb.calls == []


def test_async_methods_do_the_same(fake: Stack) -> None:
    key, ended, left = saved_key(a=1), saved_key(b=1), save_content(c=1)
    moving_in.SessionStore(left).load()
    fake.delete_item(id_of(left))

    async def requests() -> tuple[dict[str, Any], dict[str, Any]]:
        found = await moving_out.SessionStore(key).aload()
        await moving_out.SessionStore().adelete(ended)
        await moving_out.SessionStore.aclear_expired()
        return found, await moving_out.SessionStore(ended).aload()

    assert asyncio.run(requests()) == ({"a": 1}, {})
    assert old_engine.content(key) == {"a": 1}
    assert not old_engine.is_there(left)


# In a view that is one transaction


def test_session_stays_sealed_when_its_row_is_rolled_back(stack: Stack) -> None:
    key = saved_key(a=1)
    with transaction.atomic():
        assert moving_out.SessionStore(key).load() == {"a": 1}
        transaction.set_rollback(True)
    assert not old_engine.is_there(key)
    assert dict(moving_out.SessionStore(key).items()) == {"a": 1}


def test_session_is_a_row_from_the_commit_on(stack: Stack) -> None:
    key = saved_key(a=1)
    with transaction.atomic():
        session = moving_out.SessionStore(key)
        session["b"] = 2
        assert stored_item(key) == {"a": 1}
        session.save()
    assert stored_item(key) == {}
    assert dict(moving_out.SessionStore(key).items()) == {"a": 1, "b": 2}


def test_sign_out_that_is_rolled_back_ends_nothing(fake: Stack) -> None:
    key, row = saved_key(a=1), save_content(b=1)
    with transaction.atomic():
        moving_out.SessionStore().delete(key)
        moving_out.SessionStore(row).flush()
        transaction.set_rollback(True)
    assert dict(moving_out.SessionStore(key).items()) == {"a": 1}
    assert dict(moving_out.SessionStore(row).items()) == {"b": 1}


def test_sign_out_in_a_transaction_ends_the_session_it_moved_back(stack: Stack) -> None:
    key = saved_key(a=1)
    with transaction.atomic():
        session = moving_out.SessionStore(key)
        session.load()
        session.flush()
    assert moving_out.SessionStore(key).load() == {}
    assert stored_item(key) == {}


# By `cached_db`


@pytest.fixture
def cached() -> Iterator[None]:
    from django.core.cache import cache

    yield
    cache.clear()


@pytest.mark.usefixtures("cached")
def test_what_was_cached_before_the_change_is_not_served(fake: Stack) -> None:
    changed, ended = cached_session(a=1), cached_session(b=1)
    there = moving_in.SessionStore(changed)
    there["a"] = 2
    there.save()
    moving_in.SessionStore(ended).load()
    backend.SessionStore().delete(ended)
    old_engine.empty()
    assert dict(CachedStore(changed).items()) == {"a": 2}
    assert dict(cached_db.SessionStore(changed).items()) == {"a": 2}
    assert CachedStore(ended).load() == {}
    assert cached_db.SessionStore(ended).load() == {}


def cached_session(**content: Any) -> str:
    session = cached_db.SessionStore()
    session.update(content)
    session.save()
    return str(session.session_key)


# The rows whose visitors never came


def test_clearing_ends_the_rows_of_sessions_that_ended_meanwhile(stack: Stack) -> None:
    ended, lives, untouched, expired = (
        save_content(a=1),
        save_content(b=1),
        save_content(c=1),
        save_content(d=1),
    )
    for key in (ended, lives):
        moving_in.SessionStore(key).load()
    backend.SessionStore().delete(ended)
    save_changes(lives, b=2)
    expire_row(expired)
    moving_out.SessionStore.clear_expired()
    assert not old_engine.is_there(ended)
    assert not old_engine.is_there(expired)
    assert old_engine.content(lives) == {"b": 2}
    assert old_engine.content(untouched) == {"c": 1}
    assert mark_id(stack.services, id_of(lives)) not in stack.items()


def test_clearing_reads_a_large_table_a_few_rows_at_a_time(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_out, "CHUNK", 2, raising=False)
    ended = [save_content(a=number) for number in range(5)]
    for key in ended:
        moving_in.SessionStore(key).load()
        backend.SessionStore().delete(key)
    with CaptureQueriesContext(connection) as queries:
        moving_out.SessionStore.clear_expired()
    asked = [each["sql"] for each in queries if each["sql"].startswith("SELECT")]
    reads = [sql for sql in asked if "django_session" in sql]  # not whether the connection lives
    assert reads
    assert all("LIMIT 2" in sql for sql in reads), reads
    assert not any(map(old_engine.is_there, ended))


def test_clearing_reads_each_live_row_once(fake: Stack) -> None:
    save_content(a=1)
    save_content(b=1)
    moving_out.SessionStore.clear_expired()
    assert fake.dynamodb.calls == ["GetItem moved"] * 2
