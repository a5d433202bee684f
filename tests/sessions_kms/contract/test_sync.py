"""Django's session contract, kept on every stack, in threads and in event loops."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.sessions import again, save_session
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.usefixtures("stack", "driven")


def test_new_session_is_neither_accessed_nor_modified() -> None:
    session = SessionStore()
    assert not session.accessed
    assert not session.modified
    assert session.is_empty()


def test_missing_value_is_none_or_the_default_and_counts_as_access() -> None:
    session = SessionStore()
    assert session.get("cat") is None
    assert session.get("cat", "none") == "none"
    assert session.accessed
    assert not session.modified


def test_stored_values_are_read_back() -> None:
    content = {"text": "ü€😀", "nested": {"list": [1, 2.5, None, True]}, "": "empty key"}
    assert dict(again(save_session(**content)).items()) == content


def test_pop_of_a_missing_key_gives_the_default_and_does_not_modify() -> None:
    session = again(save_session(cat=1))
    assert session.pop("dog", "none") == "none"
    with pytest.raises(KeyError):
        session.pop("dog")
    assert not session.modified


def test_pop_of_a_key_modifies() -> None:
    session = again(save_session(cat=1))
    assert session.pop("cat") == 1
    assert session.modified


def test_setdefault_sets_once() -> None:
    session = SessionStore()
    assert session.setdefault("cat", "first") == "first"
    assert session.setdefault("cat", "second") == "first"


def test_dict_views_and_membership() -> None:
    session = save_session(cat=1)
    assert list(session.keys()) == ["cat"]
    assert list(session.values()) == [1]
    assert "cat" in session
    assert session.has_key("cat")
    del session["cat"]
    assert "cat" not in session


def test_clear_empties_but_keeps_the_key() -> None:
    session = save_session(cat=1)
    session.clear()
    session.save()
    assert list(again(session).items()) == []
    assert again(session).exists(session.session_key or "")


def test_save_without_a_key_creates_one() -> None:
    session = save_session(cat=1)
    assert session.session_key is not None
    assert session.exists(session.session_key)


def test_create_stores_at_once_and_modifies(stack: Stack) -> None:
    session = SessionStore()
    session.create()
    assert session.modified
    assert len(stack.sessions()) == 1


def test_create_keeps_the_content() -> None:
    session = SessionStore()
    session["cat"] = 1
    session.create()
    assert again(session)["cat"] == 1


def test_must_create_of_an_existing_key_raises_create_error() -> None:
    session = save_session(cat=1)
    other = again(session)
    with pytest.raises(CreateError):
        other.save(must_create=True)
    assert again(session)["cat"] == 1


def test_delete_ends_the_session_and_may_be_repeated() -> None:
    session = save_session(cat=1)
    session.delete(session.session_key)
    session.delete()
    assert not session.exists(session.session_key or "")
    assert again(session).get("cat") is None


def test_delete_without_a_key_does_nothing(stack: Stack) -> None:
    save_session(cat=1)
    SessionStore().delete()
    assert len(stack.sessions()) == 1


def test_flush_ends_the_session_and_drops_the_key() -> None:
    session = save_session(cat=1)
    before = session.session_key or ""
    session.flush()
    assert session.session_key is None
    assert session.modified
    assert session.accessed
    assert session.is_empty()
    assert not session.exists(before)


def test_cycle_key_moves_the_content_and_the_old_key_is_dead(stack: Stack) -> None:
    session = save_session(cat=1)
    before = session.session_key or ""
    session["dog"] = 2
    session.cycle_key()
    assert session.session_key != before
    assert dict(again(session).items()) == {"cat": 1, "dog": 2}
    assert not session.exists(before)
    assert len(stack.sessions()) == 1
    assert session.modified


def test_cycle_key_without_a_key_creates_the_session() -> None:
    session = SessionStore()
    session["cat"] = 1
    session.cycle_key()
    assert again(session)["cat"] == 1


def test_save_does_not_resurrect_a_session_that_another_request_ended(stack: Stack) -> None:
    session = save_session(cat=1)
    mine = again(session)
    mine["cat"] = 2
    session.delete()
    with pytest.raises(UpdateError):
        mine.save()
    assert stack.sessions() == {}


@pytest.mark.parametrize(
    "key", ["1", "short", "X" * 32, "é" * 32, "a" * 31, "a" * 33, "a" * 31 + "\n", "a" * 100_000]
)
def test_malformed_key_is_no_session_and_costs_no_call(fake: Stack, key: str) -> None:
    session = SessionStore(key)
    assert session.session_key is None
    assert session.get("cat") is None
    assert not session.exists(key)
    session.delete(key)
    assert fake.dynamodb.calls == []


def test_unknown_key_loads_nothing_writes_nothing_and_gets_a_new_key_on_save(stack: Stack) -> None:
    session = SessionStore("a" * 32)
    assert session.get("cat") is None
    assert session.session_key is None
    assert stack.sessions() == {}
    session["cat"] = 1
    session.save()
    assert session.session_key != "a" * 32


def test_every_key_is_of_the_form_that_the_store_accepts() -> None:
    assert len({save_session().session_key for _ in range(5)}) == 5


def test_expiry_in_every_form(settings: Settings, stack: Stack) -> None:
    session = SessionStore()
    now = datetime.fromtimestamp(stack.clock(), tz=UTC)
    assert session.get_expiry_age() == min(settings.SESSION_COOKIE_AGE, 7 * 86400)
    session.set_expiry(90)
    assert session.get_expiry_age() == 90
    session.set_expiry(now + timedelta(seconds=80.9))
    assert session.get_expiry_age() == 80
    assert session.get_expiry_date() == now + timedelta(seconds=80.9)
    session.set_expiry(0)
    assert session.get_expire_at_browser_close()
    assert session.get_expiry_age() == min(settings.SESSION_COOKIE_AGE, 7 * 86400)
    session.set_expiry(None)
    assert not session.get_expire_at_browser_close()


def test_expiry_arguments_are_honoured_without_loading(stack: Stack) -> None:
    session = SessionStore("a" * 32)
    now = datetime.fromtimestamp(stack.clock(), tz=UTC)
    assert session.get_expiry_age(modification=now, expiry=7) == 7
    assert session.get_expiry_date(modification=now, expiry=7) == now + timedelta(seconds=7)
    assert not session.accessed


def test_session_set_to_end_in_the_past_is_no_session() -> None:
    session = SessionStore()
    session["cat"] = 1
    session.set_expiry(-3600)
    session.save()
    assert again(session).get("cat") is None


def test_naive_expiry_dates_work_without_time_zones(settings: Settings, stack: Stack) -> None:
    settings.USE_TZ = False
    session = SessionStore()
    local = datetime.fromtimestamp(stack.clock())  # noqa: DTZ006 - as Django without USE_TZ
    session.set_expiry(local + timedelta(seconds=60))
    session.save()
    assert again(session).get_expiry_age() == 60
    stack.clock.advance(61)
    assert again(session).get("_session_expiry") is None


def test_test_cookie() -> None:
    session = SessionStore()
    session.set_test_cookie()
    assert session.test_cookie_worked()
    session.delete_test_cookie()
    assert not session.test_cookie_worked()


def test_clear_expired_is_left_to_the_table(stack: Stack) -> None:
    save_session(cat=1)
    SessionStore.clear_expired()
    assert len(stack.sessions()) == 1
