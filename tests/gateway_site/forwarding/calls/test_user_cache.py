"""The cache of users: two seconds, or until a user changes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

from gateway_site.forwarding.calls import user_cache
from gateway_site.forwarding.calls.user_cache import UserCache
from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

AGE = 2.0
Queries = Callable[[int], AbstractContextManager[Any]]
pytestmark = pytest.mark.django_db


@pytest.fixture
def people(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> UserCache:
    install(fake_stack(FakeClock()).services)
    found = UserCache(AGE, clock)
    monkeypatch.setattr(user_cache, "user_cache", lambda: found)
    return found


@pytest.fixture
def ada(people: UserCache) -> User:
    return User.objects.create_user("ada")


def call(user: User, **changed: str) -> HttpRequest:
    request = RequestFactory().get("/gateway/")
    request.session = SessionStore()
    request.session.update(
        {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
        | changed
    )
    request.user = SimpleLazyObject(lambda: get_user(request))  # type: ignore[assignment]
    return request


@contextmanager
def database_down() -> Iterator[None]:
    def fail(*_: Any) -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    with connection.execute_wrapper(fail):
        yield


def test_database_is_queried_again_exactly_after_the_age(
    people: UserCache, ada: User, clock: FakeClock, django_assert_num_queries: Queries
) -> None:
    with django_assert_num_queries(1):
        assert people.active_user_id(call(ada)) == str(ada.pk)
        clock.advance(AGE - 0.01)
        request = call(ada)
        assert people.active_user_id(request) == str(ada.pk)
    clock.advance(0.01)
    with django_assert_num_queries(1):
        assert people.active_user_id(call(ada)) == str(ada.pk)


def test_age_of_0_queries_the_database_for_each_call(
    ada: User, django_assert_num_queries: Queries
) -> None:
    people = UserCache(0)
    with django_assert_num_queries(2):
        assert people.active_user_id(call(ada)) == people.active_user_id(call(ada)) == str(ada.pk)


def test_deactivation_by_another_process_counts_after_the_age(
    people: UserCache, ada: User, clock: FakeClock
) -> None:
    people.active_user_id(call(ada))
    User.objects.update(is_active=False)  # no signal, as from elsewhere
    clock.advance(AGE)
    assert people.active_user_id(call(ada)) is None


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


@pytest.mark.parametrize("change", [deactivate, lambda user: user.delete()])
def test_change_of_a_person_here_counts_at_once(
    people: UserCache, ada: User, change: Callable[[User], object]
) -> None:
    people.active_user_id(call(ada))
    request = call(ada)
    change(ada)
    assert people.active_user_id(request) is None


def test_what_was_read_before_a_change_is_not_kept_after_it(
    people: UserCache, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = people._query_database

    def overtaken(ask: Callable[[], Any]) -> Any:
        user = asked(ask)
        deactivate(User.objects.get(pk=ada.pk))
        return user

    monkeypatch.setattr(people, "_query_database", overtaken)
    people.active_user_id(call(ada))
    monkeypatch.undo()
    assert people.active_user_id(call(ada)) is None


def test_what_others_read_before_a_transaction_ended_is_forgotten_with_its_end(
    people: UserCache, ada: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        deactivate(ada)
        User.objects.update(is_active=True)  # what other connections still see
        request = call(ada)
        assert people.active_user_id(request) == str(ada.pk)
        User.objects.update(is_active=False)
    assert people.active_user_id(call(ada)) is None


def test_sign_in_keeps_the_cache(
    people: UserCache, ada: User, django_assert_num_queries: Queries
) -> None:
    people.active_user_id(call(ada))
    ada.save(update_fields=["last_login"])
    with django_assert_num_queries(0):
        assert people.active_user_id(call(ada)) == str(ada.pk)


def test_mismatched_session_is_left_to_django(
    people: UserCache, ada: User, settings: Settings
) -> None:
    """It knows of former secret keys, and ends a session of a former password."""
    people.active_user_id(call(ada))
    ended = call(ada, **{HASH_SESSION_KEY: "0" * 64})
    assert people.active_user_id(ended) is None
    assert SESSION_KEY not in ended.session
    foreign = call(ada, **{BACKEND_SESSION_KEY: "elsewhere.Backend"})
    assert people.active_user_id(foreign) is None

    of_before = call(ada)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ"
    now = call(ada)
    assert people.active_user_id(now) == people.active_user_id(of_before) == str(ada.pk)
    assert of_before.session[HASH_SESSION_KEY] == now.session[HASH_SESSION_KEY]


def test_cached_users_are_served_while_the_database_is_down(
    people: UserCache, ada: User, clock: FakeClock
) -> None:
    people.active_user_id(call(ada))
    grace = call(User.objects.create_user("grace"))
    with database_down():
        clock.advance(AGE - 0.1)
        with pytest.raises(OperationalError):
            people.active_user_id(grace)
        assert people.active_user_id(call(ada)) == str(ada.pk)
        clock.advance(0.1)
        with pytest.raises(OperationalError):
            people.active_user_id(call(ada))
    assert people.active_user_id(call(ada)) == str(ada.pk)


def test_unreachable_database_is_tried_by_one_call_at_a_time(people: UserCache, ada: User) -> None:
    with database_down(), pytest.raises(OperationalError):
        people.active_user_id(call(ada))
    asks, go_on = threading.Event(), threading.Event()
    slow = call(ada)

    def ask() -> User:
        asks.set()
        assert go_on.wait(20)
        return ada

    slow.user = SimpleLazyObject(ask)  # type: ignore[assignment]
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(people.active_user_id(slow)))
    asking.start()
    assert asks.wait(20)
    with pytest.raises(OperationalError, match="a moment ago"):
        people.active_user_id(call(ada))
    go_on.set()
    asking.join()
    assert found == [str(ada.pk)]
    assert people.active_user_id(call(User.objects.create_user("grace"))) is not None


def test_database_that_takes_longer_than_the_age_is_slow_and_no_error(
    people: UserCache, ada: User, clock: FakeClock
) -> None:
    slow = call(ada)

    def ask() -> User:
        clock.advance(AGE)
        return ada

    slow.user = SimpleLazyObject(ask)  # type: ignore[assignment]
    assert people.active_user_id(slow) == str(ada.pk)
    assert not people._users


def test_cache_is_bounded_and_drops_the_oldest_first(
    people: UserCache,
    ada: User,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Queries,
) -> None:
    monkeypatch.setattr(user_cache, "SIZE_MAX", 1)
    grace = User.objects.create_user("grace")
    for user in (ada, grace):
        people.active_user_id(call(user))
    with django_assert_num_queries(1):
        people.active_user_id(call(grace))
        people.active_user_id(call(ada))
    assert len(people._users) == 1


def test_user_of_a_page_is_queried_once_within_the_age(
    people: UserCache, ada: User, clock: FakeClock, django_assert_num_queries: Queries
) -> None:
    session = call(ada).session
    with django_assert_num_queries(1):
        assert people.cached_user(session) is None
        assert people.load_user(session) == ada
        clock.advance(AGE - 0.01)
        assert people.cached_user(session) == ada
        assert people.active_user_id(call(ada)) == str(ada.pk)
    clock.advance(0.01)
    assert people.cached_user(session) is None


def test_changes_of_a_page_to_its_user_object_are_not_cached(people: UserCache, ada: User) -> None:
    session = call(ada).session
    for found in (people.load_user(session), people.cached_user(session)):
        assert isinstance(found, User)
        found.username = "changed"
    assert str(people.cached_user(session)) == "ada"


@pytest.mark.parametrize(
    "changed",
    [
        {HASH_SESSION_KEY: "of a former password"},
        {HASH_SESSION_KEY: ""},
        {BACKEND_SESSION_KEY: "django.contrib.auth.backends.RemoteUserBackend"},
        {SESSION_KEY: "123456"},
    ],
)
def test_page_with_a_mismatched_session_hash_is_left_to_django(
    people: UserCache, ada: User, changed: dict[str, str]
) -> None:
    people.active_user_id(call(ada))
    session = call(ada, **changed).session
    assert people.cached_user(session) is people.load_user(session) is None
    deactivate(ada)
    assert people.load_user(call(ada).session) is None


def test_page_gets_a_known_database_outage_without_waiting(people: UserCache, ada: User) -> None:
    session = call(ada).session
    with database_down():
        with pytest.raises(OperationalError, match="unexpectedly"):
            people.load_user(session)
        with people._query_lock, pytest.raises(OperationalError, match="a moment ago"):
            people.load_user(session)
    assert people.load_user(session) == ada


def test_page_requires_an_active_user_whatever_the_backend_allows(
    people: UserCache, ada: User, settings: Settings
) -> None:
    name = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    settings.AUTHENTICATION_BACKENDS = [name]
    session = call(ada, **{BACKEND_SESSION_KEY: name}).session
    assert people.load_user(session) == ada
    deactivate(ada)
    assert people.load_user(session) is people.cached_user(session) is None
