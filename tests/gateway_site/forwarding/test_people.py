"""Who calls is remembered for two seconds, and forgotten when they change."""

from __future__ import annotations

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

from gateway_site.forwarding import people as module
from gateway_site.forwarding.people import People
from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

AGE = 2.0
Queries = Callable[[int], AbstractContextManager[Any]]
pytestmark = pytest.mark.django_db


@pytest.fixture
def people(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> People:
    install(fake_stack(FakeClock()).services)
    found = People(AGE, clock)
    monkeypatch.setattr(module, "people", lambda: found)
    return found


@pytest.fixture
def ada(people: People) -> User:
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


def test_database_is_asked_again_exactly_after_the_age(
    people: People, ada: User, clock: FakeClock, django_assert_num_queries: Queries
) -> None:
    with django_assert_num_queries(1):
        assert people.caller(call(ada)) == str(ada.pk)
        clock.advance(AGE - 0.01)
        request = call(ada)
        assert people.caller(request) == str(ada.pk)
    assert vars(request)[module.CALLER] == str(ada.pk)  # for the access log
    clock.advance(0.01)
    with django_assert_num_queries(1):
        assert people.caller(call(ada)) == str(ada.pk)


def test_age_of_0_asks_at_each_call(ada: User, django_assert_num_queries: Queries) -> None:
    people = People(0)
    with django_assert_num_queries(2):
        assert people.caller(call(ada)) == people.caller(call(ada)) == str(ada.pk)


def test_deactivation_by_another_process_counts_after_the_age(
    people: People, ada: User, clock: FakeClock
) -> None:
    people.caller(call(ada))
    User.objects.update(is_active=False)  # no signal, as from elsewhere
    clock.advance(AGE)
    assert people.caller(call(ada)) is None


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


@pytest.mark.parametrize("change", [deactivate, lambda user: user.delete()])
def test_change_of_a_person_here_counts_at_once(
    people: People, ada: User, change: Callable[[User], object]
) -> None:
    people.caller(call(ada))
    request = call(ada)
    change(ada)
    assert people.caller(request) is None


def test_what_was_read_before_a_change_is_not_kept_after_it(
    people: People, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = people._asked_in_turn

    def overtaken(ask: Callable[[], Any]) -> Any:
        user = asked(ask)
        deactivate(User.objects.get(pk=ada.pk))
        return user

    monkeypatch.setattr(people, "_asked_in_turn", overtaken)
    people.caller(call(ada))
    monkeypatch.undo()
    assert people.caller(call(ada)) is None


def test_what_others_read_before_a_transaction_ended_is_forgotten_with_its_end(
    people: People, ada: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        deactivate(ada)
        User.objects.update(is_active=True)  # what other connections still see
        request = call(ada)
        assert people.caller(request) == str(ada.pk)
        User.objects.update(is_active=False)
    assert people.caller(call(ada)) is None


def test_sign_in_forgets_nobody(
    people: People, ada: User, django_assert_num_queries: Queries
) -> None:
    people.caller(call(ada))
    ada.save(update_fields=["last_login"])
    with django_assert_num_queries(0):
        assert people.caller(call(ada)) == str(ada.pk)


def test_session_that_does_not_match_goes_djangos_way(
    people: People, ada: User, settings: Settings
) -> None:
    """It knows of former secret keys, and ends a session of a former password."""
    people.caller(call(ada))
    ended = call(ada, **{HASH_SESSION_KEY: "0" * 64})
    assert people.caller(ended) is None
    assert SESSION_KEY not in ended.session
    foreign = call(ada, **{BACKEND_SESSION_KEY: "elsewhere.Backend"})
    assert people.caller(foreign) is None

    of_before = call(ada)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ"
    now = call(ada)
    assert people.caller(now) == people.caller(of_before) == str(ada.pk)
    assert of_before.session[HASH_SESSION_KEY] == now.session[HASH_SESSION_KEY]


def test_people_known_are_served_while_the_database_is_down(
    people: People, ada: User, clock: FakeClock
) -> None:
    people.caller(call(ada))
    grace = call(User.objects.create_user("grace"))
    with database_down():
        clock.advance(AGE - 0.1)
        with pytest.raises(OperationalError):
            people.caller(grace)
        assert people.caller(call(ada)) == str(ada.pk)
        clock.advance(0.1)
        with pytest.raises(OperationalError):
            people.caller(call(ada))
    assert people.caller(call(ada)) == str(ada.pk)


def test_one_at_a_time_asks_a_database_that_could_not_be_reached(people: People, ada: User) -> None:
    with database_down(), pytest.raises(OperationalError):
        people.caller(call(ada))
    asks, go_on = threading.Event(), threading.Event()
    slow = call(ada)

    def ask() -> User:
        asks.set()
        assert go_on.wait(20)
        return ada

    slow.user = SimpleLazyObject(ask)  # type: ignore[assignment]
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(people.caller(slow)))
    asking.start()
    assert asks.wait(20)
    with pytest.raises(OperationalError, match="a moment ago"):
        people.caller(call(ada))
    go_on.set()
    asking.join()
    assert found == [str(ada.pk)]
    assert people.caller(call(User.objects.create_user("grace"))) is not None


def test_database_that_takes_longer_than_the_age_is_slow_and_no_error(
    people: People, ada: User, clock: FakeClock
) -> None:
    slow = call(ada)

    def ask() -> User:
        clock.advance(AGE)
        return ada

    slow.user = SimpleLazyObject(ask)  # type: ignore[assignment]
    assert people.caller(slow) == str(ada.pk)
    assert not people._known


def test_so_many_are_remembered_and_the_oldest_go_first(
    people: People, ada: User, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Queries
) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    grace = User.objects.create_user("grace")
    for user in (ada, grace):
        people.caller(call(user))
    with django_assert_num_queries(1):
        people.caller(call(grace))
        people.caller(call(ada))
    assert len(people._known) == 1


def test_person_of_a_page_is_asked_for_once_in_the_age(
    people: People, ada: User, clock: FakeClock, django_assert_num_queries: Queries
) -> None:
    session = call(ada).session
    with django_assert_num_queries(1):
        assert people.at_hand(session) is None
        assert people.found(session) == ada
        clock.advance(AGE - 0.01)
        assert people.at_hand(session) == ada
        assert people.caller(call(ada)) == str(ada.pk)
    clock.advance(0.01)
    assert people.at_hand(session) is None


def test_nobody_gets_what_another_page_changed_of_a_person(people: People, ada: User) -> None:
    session = call(ada).session
    for found in (people.found(session), people.at_hand(session)):
        assert isinstance(found, User)
        found.username = "changed"
    assert str(people.at_hand(session)) == "ada"


@pytest.mark.parametrize(
    "changed",
    [
        {HASH_SESSION_KEY: "of a former password"},
        {HASH_SESSION_KEY: ""},
        {BACKEND_SESSION_KEY: "django.contrib.auth.backends.RemoteUserBackend"},
        {SESSION_KEY: "123456"},
    ],
)
def test_person_of_a_page_whose_session_does_not_match_goes_djangos_way(
    people: People, ada: User, changed: dict[str, str]
) -> None:
    people.caller(call(ada))
    session = call(ada, **changed).session
    assert people.at_hand(session) is people.found(session) is None
    deactivate(ada)
    assert people.found(call(ada).session) is None


def test_page_is_told_of_a_database_that_could_not_be_reached_without_a_wait(
    people: People, ada: User
) -> None:
    session = call(ada).session
    with database_down():
        with pytest.raises(OperationalError, match="unexpectedly"):
            people.found(session)
        with people._turn, pytest.raises(OperationalError, match="a moment ago"):
            people.found(session)
    assert people.found(session) == ada


def test_person_of_a_page_is_active_whatever_the_backend_lets_in(
    people: People, ada: User, settings: Settings
) -> None:
    name = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    settings.AUTHENTICATION_BACKENDS = [name]
    session = call(ada, **{BACKEND_SESSION_KEY: name}).session
    assert people.found(session) == ada
    deactivate(ada)
    assert people.found(session) is people.at_hand(session) is None
