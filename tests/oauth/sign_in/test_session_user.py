"""Sessions shared by processes with different SECRET_KEYs."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib import auth
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse

from oauth.sign_in import session_user
from oauth.sign_in.authentication import AuthenticationMiddleware
from sessions_kms.backend import SessionStore
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.key_states import NEW, OLD, KeyProcess
from tests.sessions_kms.support.stacks import Stack

NAME = "gateway_sessionid"
PAGES = ("/", "/sessions/", "/accounts/login/", "/accounts/3rdparty/", "/admin/", "/gateway/")
# The states of a rotation, in their order; the second of each pair starts later.
ONLY_OLD = KeyProcess(OLD)
ADDED = KeyProcess(OLD, (NEW,), started=-900)
SWAPPED = KeyProcess(NEW, (OLD,), started=100)
ONLY_NEW = KeyProcess(NEW, started=5000)


@pytest.fixture
def ada(corp: FakeProvider) -> Visitor:
    """Sign in at a process that knows the old key alone."""
    visitor = Visitor()
    ONLY_OLD.does(partial(visitor.sign_in, corp), at=0)
    return visitor


def is_signed_in(visitor: Visitor) -> bool:
    return b"Sign out" in visitor.client.get("/").content


def change_password() -> None:
    """Set the same password for everybody: what is stored of it is new each time."""
    for user in User.objects.all():
        user.set_password("the same")
        user.save()


def forget_password(visitor: Visitor) -> None:
    """Have the session be one of a release that kept no digest."""
    session = visitor.session
    del session[session_user.DIGEST]
    session.save()


# A key that a process does not know


def test_process_without_the_key_answers_signed_out_and_leaves_the_session_as_it_is(
    store: Stack, ada: Visitor
) -> None:
    assert SWAPPED.does(partial(is_signed_in, ada), at=200)
    before = store.items()
    with ONLY_OLD.serving(at=300):
        for page in PAGES:
            response = ada.client.get(page)
            assert response.status_code in {200, 302, 401, 501}, page
            assert b"Sign out" not in response.content
            assert NAME not in response.cookies, page
            assert store.items() == before, page
    assert SWAPPED.does(partial(is_signed_in, ada), at=400)
    assert ada.load_tokens() is not None


def test_password_that_was_changed_ends_the_session_whatever_keys_a_process_has(
    store: Stack, corp: FakeProvider
) -> None:
    change_password()
    for process in (ONLY_OLD, ADDED, SWAPPED, ONLY_NEW):
        visitor = Visitor()
        ONLY_OLD.does(partial(visitor.sign_in, corp), at=0)
        change_password()
        assert not process.does(partial(is_signed_in, visitor), at=6000)
        assert store.sessions() == {}, process


def test_session_of_an_earlier_release_is_left_to_django(store: Stack, ada: Visitor) -> None:
    forget_password(ada)
    assert not ONLY_NEW.does(partial(is_signed_in, ada), at=6000)
    assert store.sessions() == {}


def test_session_of_an_earlier_release_is_left_alone_once_its_hash_was_rewritten(
    ada: Visitor,
) -> None:
    forget_password(ada)
    assert SWAPPED.does(partial(is_signed_in, ada), at=200)
    assert not ONLY_OLD.does(partial(is_signed_in, ada), at=300)
    assert SWAPPED.does(partial(is_signed_in, ada), at=400)


@pytest.mark.parametrize("kept", [None, "", [], ["x"], ["x", "y"], {"x": 1}, 1])
def test_malformed_digest_is_left_to_django(store: Stack, ada: Visitor, kept: Any) -> None:
    session = ada.session
    session[session_user.DIGEST] = kept
    session.save()
    assert not ONLY_NEW.does(partial(is_signed_in, ada), at=6000)
    assert store.sessions() == {}


def test_digest_without_a_hash_is_left_to_django(store: Stack, ada: Visitor) -> None:
    session = ada.session
    del session[HASH_SESSION_KEY]
    session.save()
    assert not ONLY_OLD.does(partial(is_signed_in, ada), at=10)
    assert store.sessions() == {}


def test_sign_out_where_the_key_is_missing_ends_the_session(store: Stack, ada: Visitor) -> None:
    """The page that has the button was made by a process that has the key."""
    assert SWAPPED.does(partial(is_signed_in, ada), at=200)
    stolen = Visitor()
    stolen.client.cookies[NAME] = ada.client.cookies[NAME].value
    ONLY_OLD.does(lambda: ada.client.post("/accounts/logout/"), at=300)
    assert store.sessions() == {}
    assert not SWAPPED.does(partial(is_signed_in, stolen), at=400)


def test_sign_out_of_somebody_who_is_inactive_ends_the_session(store: Stack, ada: Visitor) -> None:
    User.objects.update(is_active=False)
    ONLY_OLD.does(lambda: ada.client.post("/accounts/logout/"), at=300)
    assert store.sessions() == {}


def test_sign_in_where_the_key_is_missing_ends_the_session_before(
    store: Stack, corp: FakeProvider, ada: Visitor
) -> None:
    assert SWAPPED.does(partial(is_signed_in, ada), at=200)
    assert ONLY_OLD.does(lambda: ada.sign_in(corp).status_code, at=300) == 302
    assert ONLY_OLD.does(partial(is_signed_in, ada), at=300)
    assert len(store.sessions()) == 1
    assert SWAPPED.does(partial(is_signed_in, ada), at=400)


def test_log_names_the_remedy_once_a_minute(ada: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    session_user.once_per_minute.forget()
    caplog.set_level(logging.WARNING, logger="oauth")
    with ONLY_NEW.serving(at=6000):
        for _ in range(3):
            is_signed_in(ada)
    said = [each.message for each in caplog.records if each.name == session_user.__name__]
    assert len(said) == 1
    assert "SECRET_KEY_FALLBACKS" in said[0]


def test_single_key_causes_no_check_or_log(ada: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    assert ONLY_OLD.does(partial(is_signed_in, ada), at=0)
    assert not [each for each in caplog.records if each.name == session_user.__name__]


# A rewritten hash


def with_cookies(cookies: str) -> Visitor:
    """Return the same browser before it received any later response."""
    visitor = Visitor()
    visitor.client.cookies.load(cookies)
    return visitor


@pytest.mark.parametrize("page", ["/", "/gateway/", "/sessions/"])
def test_browser_that_receives_no_response_during_a_rotation_stays_signed_in(
    store: Stack, ada: Visitor, page: str
) -> None:
    """The keys are swapped, the swap is reversed, and it is made again."""
    cookies = ada.client.cookies.output(header="", sep=";")
    before = len(store.items())
    reversed_swap, new_swap = replace(ADDED, started=1000), replace(SWAPPED, started=2000)
    for number, process in enumerate([ADDED, SWAPPED, SWAPPED, reversed_swap, new_swap]):
        at = 1000 * number + 500
        for _ in range(2):
            response = process.does(lambda: with_cookies(cookies).client.get(page), at)
            assert response.status_code == 200
            store.clock.advance(60)  # longer than a session's former key is followed
        assert process.does(partial(is_signed_in, with_cookies(cookies)), at)
    assert len(store.items()) == before
    assert ONLY_NEW.does(partial(is_signed_in, with_cookies(cookies)), at=6000)


# The two steps


@pytest.mark.slow
def test_key_rotation_in_two_steps_keeps_everyone_signed_in(corp: FakeProvider) -> None:
    """Each pair of neighbouring states serves at once; somebody signs in at each of them."""
    states = (ONLY_OLD, ADDED, SWAPPED)
    visitors: list[Visitor] = []
    for moment, pair in enumerate(itertools.pairwise(states)):
        for process in pair:
            visitor = Visitor()
            process.does(partial(visitor.sign_in, corp), at=500 * moment + 10)
            visitors.append(visitor)
        for round_number, process in enumerate(pair * 2):
            for visitor in visitors:
                at = 500 * moment + 20 + round_number
                assert process.does(partial(is_signed_in, visitor), at=at)
    later = KeyProcess(NEW, (OLD,), started=2000)
    for visitor in visitors:
        assert later.does(partial(is_signed_in, visitor), at=2010)
        assert ONLY_NEW.does(partial(is_signed_in, visitor), at=6000)


def test_processes_that_know_both_keys_do_not_rewrite_each_others_hashes(
    store: Stack, ada: Visitor
) -> None:
    """They would write at every request."""
    assert SWAPPED.does(partial(is_signed_in, ada), at=200)
    before = store.items()
    for at in range(210, 250, 10):
        for process in (ADDED, SWAPPED):
            assert process.does(partial(is_signed_in, ada), at=at)
    assert store.items() == before


def test_hash_of_a_former_key_is_rewritten_after_a_rollout(ada: Visitor) -> None:
    late = KeyProcess(NEW, (OLD,), started=-900)
    assert late.does(partial(is_signed_in, ada), at=3500)
    assert not ONLY_NEW.does(partial(is_signed_in, ada), at=3500)
    assert late.does(partial(is_signed_in, ada), at=3601)
    assert ONLY_NEW.does(partial(is_signed_in, ada), at=3700)


# As Django does


def request_with(session: SessionStore) -> HttpRequest:
    request = HttpRequest()
    request.session = session
    return request


def contents(user: User) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield sessions of every kind that Django tells apart, none with a digest."""
    hashes = {
        "present": user.get_session_auth_hash(),
        "former": next(iter(user.get_session_auth_fallback_hash())),
        "unknown": "0" * 64,
        "empty": "",
        "none": None,
    }
    ids = {"somebody": str(user.pk), "nobody": "0", "none": None}
    backends = {
        "known": "django.contrib.auth.backends.ModelBackend",
        "unknown": "a.B",
        "none": None,
    }
    for names in itertools.product(ids, backends, hashes):
        values = (ids[names[0]], backends[names[1]], hashes[names[2]])
        keys = (SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY)
        content = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        yield "-".join(names), content | {"kept": 1}


def test_session_without_a_digest_is_validated_by_django(ada: Visitor) -> None:
    """With the hash of a former key, Django also changes the session's key."""
    judged = []
    with SWAPPED.serving(at=200):
        for user in User.objects.all():
            for kind, content in contents(user):
                found = []
                for get_user in (auth.get_user, session_user.get_user):
                    session = SessionStore()
                    session.update(content)
                    session.save()
                    key = session.session_key
                    who = get_user(request_with(session)).pk
                    left = {k: v for k, v in session.items() if k != session_user.DIGEST}
                    if get_user is auth.get_user and kind == "somebody-known-former":
                        assert session.session_key != key
                        key = session.session_key
                    found.append((who, left, session.session_key == key, session.modified))
                assert found[0] == found[1], kind
                judged.append(found[0][0])
    assert len(judged) == 45
    assert {bool(who) for who in judged} == {True, False}


def test_async_view_gets_the_same_user_with_one_query(
    ada: Visitor, django_assert_num_queries: Any
) -> None:
    request = request_with(SessionStore(ada.session.session_key))
    AuthenticationMiddleware(lambda _: HttpResponse()).process_request(request)
    with ONLY_OLD.serving(at=10), django_assert_num_queries(1):
        found = async_to_sync(request.auser)()
        assert found == request.user
        assert found.is_authenticated
