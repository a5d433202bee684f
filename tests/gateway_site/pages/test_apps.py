"""The apps that a person allowed: listed for that person only, ended on request, announced."""

import re
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from gateway_site.pages import apps
from gateway_site.pages.apps import ANNOUNCED, announce_new_apps
from oauth.clients.consent import Consent
from oauth.clients.grants import grants
from oauth.clients.rules.client import Client as OAuthClient
from oauth.clients.rules.client import Source
from oauth.clients.server import AuthorizationServer
from oauth.sign_in import click_delay
from oauth.sign_in.click_delay import DELAY
from oauth.signals import grant_ended
from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import id_of, services
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.clients.support.app import SERVER
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor
from tests.oauth.support.grants import ASKED, CONSENT, TOKENS, VERIFIER
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack
from tests.support.signals import record_signal

END, END_ALL = "/apps/end/", "/apps/end-all/"


@pytest.fixture
def ada(corp: FakeProvider, settings: Settings) -> Visitor:
    """Sign somebody in to a gateway that lets clients in."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    visitor = Visitor()
    visitor.sign_in_directly(corp)
    visitor.client.get("/")
    return visitor


def allow(visitor: Visitor, **changes: Any) -> str:
    """Have somebody allow an app, who is the visitor; return the access token."""
    user = User.objects.get(pk=visitor.session["_auth_user_id"])
    consent = Consent(**(vars(CONSENT) | changes))
    backend = visitor.session["_auth_user_backend"]
    code = run_sync(grants().allow(user, consent, "corp", TOKENS, backend=backend)).code
    asked = ASKED | {"client_id": consent.client_id, "redirect_uri": None}
    asked |= {"arrived_at": services().clock()}
    return run_sync(grants().redeem(code, verifier=VERIFIER, **asked)).access_token


def is_alive(token: str) -> bool:
    return run_sync(grants().open(token, upstream="mcp")) is not None


def page(visitor: Visitor, address: str = "/apps/") -> Element:
    response = visitor.client.get(address)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return assert_accessible(response.content.decode())


def cards(visitor: Visitor, address: str = "/apps/") -> list[Element]:
    items = page(visitor, address).all("li")
    return [each for each in items if "card" in (each.attributes.get("class") or "")]


def ids(visitor: Visitor) -> list[str]:
    fields = [each for card in cards(visitor) for each in card.all("input")]
    return [each.attributes["value"] for each in fields if each.attributes["name"] == "app"]


def announcements(visitor: Visitor) -> list[str]:
    """Return which apps the messages of the home page name."""
    statuses = [each for each in page(visitor, "/").all("div") if "role" in each.attributes]
    lines = [each for status in statuses for each in status.all("li")]
    assert all(
        "was allowed to call mcp in your name" in each.text for each in lines if each.all("bdi")
    )
    return [name.text for each in lines for name in each.all("bdi")]


def post(visitor: Visitor, address: str, *, seen_for: float = 2 * DELAY, **form: str) -> str:
    seen = shown_fields(visitor.user_id, ago=seen_for)
    response = visitor.client.post(address, form | seen, follow=True)
    assert response.redirect_chain == [("/apps/", 302)]
    (status,) = [
        each
        for each in assert_accessible(response.content.decode()).all("div")
        if each.attributes.get("role") == "status"
    ]
    return status.text


def test_card_shows_client_scope_and_duration(ada: Visitor, store: Stack) -> None:
    began = int(store.clock())
    allow(ada)
    store.clock.advance(60)
    allow(ada, client_name="Another", client_host=None, redirect_uri="https://x.example/cb")
    another, first = cards(ada)
    assert first.all("h2")[0].all("bdi")[0].text == "A client"
    assert "Its host, client.example" in first.text
    assert "mcp, with your account at Corp" in first.text
    assert "127.0.0.1" in first.text
    assert "Unverified" in another.text
    assert "x.example" in another.text
    since, renewed, ends = (
        datetime.fromisoformat(each.attributes["datetime"]).timestamp()
        for each in first.all("dl")[0].all("time")
    )
    assert since == renewed == began
    assert ends == began + 7 * 24 * 3600


@pytest.mark.parametrize("client_id", ["ours", "o" * 500])
def test_operators_own_client_is_shown_as_such(
    ada: Visitor, settings: Settings, client_id: str
) -> None:
    """As on the consent page, be its id a long one."""
    allow(ada, client_id=client_id, client_host=None)
    assert "Unverified" in cards(ada)[0].text
    client = OAuthClient(client_id, "A client", (CONSENT.redirect_uri,), Source.OPERATOR)
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"listed": {client_id: client}})
    (card,) = cards(ada)
    assert "The people who run this gateway" in card.text
    assert "Unverified" not in card.text


@pytest.mark.parametrize(
    ("name", "mixed"),
    [
        ("Claude", False),
        ("\N{CYRILLIC CAPITAL LETTER ES}laude", True),
        ("\N{HEBREW LETTER ALEF}b", True),
        ("\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} 2", False),
    ],
)
def test_names_are_isolated_and_look_alikes_are_marked(
    ada: Visitor, name: str, mixed: bool
) -> None:
    allow(ada, client_name=name, client_host=None)
    (card,) = cards(ada)
    assert [each.text for each in card.all("h2")[0].all("bdi")] == [name]
    assert ("mixes letters" in card.text) == mixed


def test_apps_are_no_rows_among_the_sessions(ada: Visitor) -> None:
    allow(ada)
    (only,) = cards(ada, "/sessions/")
    assert "This browser" in only.text


def test_one_is_ended_and_audited(ada: Visitor) -> None:
    kept, ended = allow(ada), allow(ada)
    with record_signal(grant_ended) as received:
        assert "has been disconnected" in post(ada, END, app=ids(ada)[0])
    assert (is_alive(kept), is_alive(ended)) in {(True, False), (False, True)}
    assert [each["reason"] for each in received] == ["ended"]
    assert len(cards(ada)) == 1


def test_all_are_ended_and_the_sessions_stay(ada: Visitor, corp: FakeProvider) -> None:
    other = Visitor()
    other.sign_in(corp)
    tokens = [allow(ada), allow(ada)]
    assert "2 apps have been disconnected." in post(ada, END_ALL)
    assert not any(map(is_alive, tokens))
    assert "Signed in as" in other.client.get("/").content.decode()
    assert "no app" in post(ada, END_ALL)


def test_page_without_apps_explains_how_to_connect_one(ada: Visitor) -> None:
    page = assert_accessible(ada.client.get("/apps/").content.decode())
    (main,) = page.all("main")
    assert "No app may call services in your name." in main.text
    assert [link.attributes["href"] for link in main.all("a")] == ["/"]


def test_all_are_ended_by_no_click_on_a_page_that_has_just_appeared(ada: Visitor) -> None:
    """Another site's page may have put it under the second click of a double click."""
    token = allow(ada)
    assert str(click_delay.TOO_SOON) in post(ada, END_ALL, seen_for=0.9 * DELAY)
    assert is_alive(token)
    assert f'name="{click_delay.FIELD}"' in ada.client.get("/apps/").content.decode()


def test_app_of_another_user_is_neither_listed_nor_ended(ada: Visitor, corp: FakeProvider) -> None:
    token = allow(ada)
    (app,) = ids(ada)
    corp.person = BOB
    bob = Visitor()
    bob.sign_in(corp)
    bob.client.get("/")
    assert cards(bob) == []
    assert "no such app" in post(bob, END, app=app)
    post(bob, END_ALL)
    assert is_alive(token)


def test_session_of_a_browser_is_no_app_to_end(ada: Visitor) -> None:
    allow(ada)
    session_id = id_of(str(ada.client.session.session_key))
    assert "no such app" in post(ada, END, app=session_id)
    assert ada.client.get("/apps/").status_code == 200, "still signed in"


def test_ending_requires_a_post_with_a_csrf_token_and_a_session(ada: Visitor) -> None:
    token = allow(ada)
    (app,) = ids(ada)
    assert ada.client.get(END).status_code == ada.client.get(END_ALL).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.client.cookies
    for address in (END, END_ALL):
        assert strict.post(address, {"app": app}).status_code == 403
        anonymous = Client().post(address, {"app": app})
        assert anonymous.status_code == 302
        assert anonymous["Location"].startswith("/accounts/login/")
    assert is_alive(token)


def test_labels_that_cannot_be_read_are_an_outage_and_no_missing_app(
    ada: Visitor, store: Stack
) -> None:
    tokens = [allow(ada, client_name=f"App {number}") for number in range(3)]
    (app, *_) = ids(ada)
    store.dynamodb.on("GetItem about", refuse_write)
    for response in (post(ada, END, app=app), post(ada, END_ALL)):
        assert "unknown whether any was disconnected" in response
    store.dynamodb.heal()
    assert all(map(is_alive, tokens))
    assert len(cards(ada)) == 3


def test_app_whose_labels_cannot_be_stored_gets_no_grant(ada: Visitor, store: Stack) -> None:
    """It would be in no list, and nobody could end it."""
    before = store.sessions()
    store.dynamodb.on("PutItem about", refuse_write)
    with pytest.raises(StoreUnavailable):
        allow(ada)
    assert store.sessions() == before
    store.dynamodb.heal()
    allow(ada)
    assert len(cards(ada)) == 1


def test_outage_says_that_nothing_was_ended(ada: Visitor, store: Stack) -> None:
    token = allow(ada)
    (app,) = ids(ada)
    assert store.dynamodb is not None
    store.dynamodb.on("Query user", refuse_write)
    assert "None was disconnected" in page(ada).text
    assert "unknown whether any was disconnected" in post(ada, END_ALL)
    store.dynamodb.heal()
    store.dynamodb.on("DeleteItem session", refuse_write)
    assert "unknown whether any was disconnected" in post(ada, END, app=app)
    store.dynamodb.heal()
    assert is_alive(token)


# Told of


def test_new_app_is_announced_once_in_each_session_of_its_user(
    ada: Visitor, corp: FakeProvider, store: Stack
) -> None:
    other = Visitor()
    other.sign_in(corp)
    other.client.get("/")
    assert announcements(ada) == announcements(other) == []
    store.clock.advance(600)
    allow(ada)
    for visitor in (ada, other):
        assert announcements(visitor) == ["A client"]
        assert announcements(visitor) == []
    late = Visitor()
    late.sign_in(corp)
    assert announcements(late) == ["A client"]
    assert announcements(late) == []


def test_view_without_news_reads_and_writes_nothing_more(ada: Visitor, store: Stack) -> None:
    allow(ada)
    announcements(ada)
    assert store.dynamodb is not None
    store.dynamodb.calls.clear()
    assert announcements(ada) == []
    assert [call for call in store.dynamodb.calls if "about" in call or "Put" in call] == []
    assert store.dynamodb.calls.count("Query user") == 1


def test_app_that_appears_late_in_the_index_is_announced(
    ada: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.clock.advance(600)
    allow(ada, client_name="First")
    store.clock.advance(30)
    allow(ada, client_name="Second")
    whole = announce_new_apps

    def lagging(request: Any, newest: Any) -> None:
        whole(request, newest[:1])

    monkeypatch.setattr(apps, "announce_new_apps", lagging)
    assert announcements(ada) == ["Second"]
    monkeypatch.setattr(apps, "announce_new_apps", whole)
    assert announcements(ada) == ["First"]
    assert announcements(ada) == []


def test_many_new_apps_are_announced_over_several_views(
    ada: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "READ_MAX", 2)
    for number in range(3):
        allow(ada, client_name=f"App {number}")
    store.clock.advance(600)
    assert [len(announcements(ada)) for _ in range(3)] == [2, 1, 0]


def test_outage_defers_the_announcement(ada: Visitor, store: Stack) -> None:
    allow(ada)
    assert store.dynamodb is not None
    store.dynamodb.on("GetItem about", refuse_write)
    assert announcements(ada) == []
    store.dynamodb.heal()
    assert len(announcements(ada)) == 1


def test_page_does_not_exist_without_oauth_clients(corp: FakeProvider, settings: Settings) -> None:
    settings.ROOT_URLCONF = "gateway_site.urls"
    Visitor().sign_in(corp)
    visitor = Visitor()
    visitor.sign_in(corp)
    for address in ("/", "/sessions/"):
        assert not re.search(r"\bapps?\b", page(visitor, address).text.lower())
    assert visitor.client.get("/apps/").status_code == 404
    assert ANNOUNCED not in visitor.session
