"""`GET /gateway/`: who is signed in, and until when, for an app in the browser."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from pytest_django import Settings

from tests.gateway_site.support.gateways import Gateway
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

HOUR = 3600


def index(visitor: Visitor) -> Any:
    response = visitor.client.get("/gateway/", headers={"Sec-Fetch-Site": "same-origin"})
    assert response.status_code == 200, response.content
    assert response["Cache-Control"] == "no-store"
    return response.json()


@pytest.fixture
def visitor(corp: FakeProvider) -> Visitor:
    corp.person = {"sub": "1001", "email": "ada@example.com", "name": "Ada", "email_verified": True}
    found = Visitor()
    found.sign_in(corp)
    return found


def test_index_names_the_user_and_where_to_go(visitor: Visitor) -> None:
    found = index(visitor)
    user = get_user_model().objects.get()
    assert found["user"] == {
        "id": "corp|1001",
        "name": user.username,
        "email": "ada@example.com",
        "provider": "corp",
    }
    assert (found["home_url"], found["sign_out_url"]) == ("/home/", "/accounts/logout/")
    assert {"csrf_header", "csrf_token", "upstreams"} <= found.keys()


def test_home_page_is_at_a_second_address_too(visitor: Visitor) -> None:
    first, second = visitor.client.get("/"), visitor.client.get("/home/")
    assert [each.status_code for each in (first, second)] == [200, 200]
    assert first.templates[0].name == second.templates[0].name == "home.html"


@pytest.mark.parametrize("name", ['Ada "the <b>first</b>"', "🧑‍💻 Grace", "O'Neil \\ \u2028"])
def test_any_name_and_no_address_are_told_as_they_are(visitor: Visitor, name: str) -> None:
    get_user_model().objects.update(username=name, email="")
    found = index(visitor)
    assert (found["user"]["name"], found["user"]["email"]) == (name, None)


def test_account_of_the_sign_in_is_named_not_a_connected_one(
    visitor: Visitor, other: FakeProvider
) -> None:
    other.person = {"sub": "other-2", "email": "ada@other.example", "name": "Ada"}
    visitor.connect(other)
    assert visitor.load_tokens("other") is not None
    user = index(visitor)["user"]
    assert (user["id"], user["provider"]) == ("corp|1001", "corp")


def test_user_without_an_account_has_no_id(store: Stack) -> None:
    visitor = Visitor()
    visitor.client.force_login(get_user_model().objects.create_user("root"))
    user = index(visitor)["user"]
    assert user == {"id": None, "name": "root", "email": None, "provider": None}


def test_seconds_that_are_left_fall_with_time_and_the_index_extends_nothing(
    visitor: Visitor, store: Stack, settings: Settings
) -> None:
    idle, absolute = settings.SESSION_COOKIE_AGE, settings.SESSIONS_KMS["ABSOLUTE_TIMEOUT"]
    first = index(visitor)["session"]
    store.clock.advance(HOUR)
    writes = len([each for each in store.dynamodb.calls if each.startswith("PutItem session")])
    second = index(visitor)["session"]
    assert first["idle_expires_in"] <= idle
    assert first["expires_in"] <= absolute
    for name in ("expires_in", "idle_expires_in"):
        assert abs(first[name] - second[name] - HOUR) <= 1
    assert writes == len(
        [each for each in store.dynamodb.calls if each.startswith("PutItem session")]
    )


def test_other_account_is_named_if_the_session_began_with_it(
    visitor: Visitor, other: FakeProvider
) -> None:
    other.person = {"sub": "other-2", "email": "ada@other.example", "name": "Ada"}
    visitor.connect(other)
    again = Visitor()
    again.sign_in(other, "other")
    user = index(again)["user"]
    assert (user["id"], user["provider"]) == ("other|other-2", "other")
    assert again.user_id == visitor.user_id


def test_later_reauthentication_does_not_change_who_is_named(visitor: Visitor) -> None:
    session = visitor.session
    later = {"method": "socialaccount", "provider": "other", "uid": "other-2"}
    session["account_authentication_methods"] += [later | {"reauthenticated": True}]
    session.save()
    user = index(visitor)["user"]
    assert (user["id"], user["provider"]) == ("corp|1001", "corp")


# Each as a browser sends it for a page of another site, of a sibling host, and for an element.
FOREIGN = {
    "another site's fetch": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "another site's link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "a sibling's fetch": {"Origin": "http://a.127.0.0.1", "Sec-Fetch-Site": "same-site"},
    "a sibling's image": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"},
    "a sibling, old browser": {"Origin": "http://127.0.0.1:1"},
    "a sandboxed frame": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
} | {
    f"its own {kind}": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": kind}
    for kind in ("script", "style", "iframe", "object", "worker", "serviceworker", "json")
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_others_and_elements_of_a_page_are_not_told_who_is_signed_in(
    gateway: Gateway, visitor: Visitor, headers: dict[str, str]
) -> None:
    with gateway.client() as client:
        served = client.get(f"{gateway.url}/gateway/", headers=headers, timeout=20)
    by_django = visitor.client.get("/gateway/", headers=headers)
    for status, text in (
        (served.status_code, served.text),
        (by_django.status_code, by_django.content.decode()),
    ):
        assert status == 403
        assert not [word for word in ("corp|", "csrf_token", "expires_in") if word in text]


def test_index_reads_the_session_once_and_writes_nothing(gateway: Gateway) -> None:
    def counts() -> list[int]:
        return [int(gateway.control(name)) for name in ("all-reads/", "session-writes/")]

    with gateway.client() as client:
        client.get(f"{gateway.url}/gateway/", timeout=20)
        before = counts()
        assert client.get(f"{gateway.url}/gateway/", timeout=20).status_code == 200
        after = counts()
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 0]


def test_signed_out_browser_learns_only_where_to_sign_in(gateway: Gateway) -> None:
    response = gateway.raw(
        b"GET /gateway/ HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin\r\n"
        b"Connection: close\r\n\r\n",
        signed_in=False,
    )
    assert response.startswith(b"HTTP/1.1 401 ")
    assert b'"sign_in_url"' in response
    assert b'"user"' not in response


@pytest.mark.parametrize("cache_age", [3600, 0])
def test_user_of_the_running_gateway_comes_from_the_cache_or_the_database(
    gateway: Gateway, cache_age: int
) -> None:
    gateway.control(f"age/{cache_age}")
    with gateway.client() as client:
        found = [client.get(f"{gateway.url}/gateway/", timeout=20).json() for _ in range(2)]
    gateway.control("age/0")
    assert [each["user"]["name"] for each in found] == ["ada", "ada"]
