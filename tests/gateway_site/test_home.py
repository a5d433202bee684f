"""The home page: what a visitor sees, signed out and signed in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from pytest_django import Settings

from oauth import session as tokens
from tests.gateway_site.pages import Element, assert_accessible
from tests.oauth.fake_provider import FakeProvider
from tests.oauth.fixtures import Visitor, configure
from tests.sessions_kms.stacks import Stack


def home(visitor: Visitor) -> Element:
    response = visitor.client.get("/")
    assert response.status_code == 200
    return assert_accessible(response.content.decode())


def facts(card: Element) -> dict[str, str]:
    terms = (term.text for term in card.all("dt"))
    return dict(zip(terms, (item.text for item in card.all("dd")), strict=True))


def cards(page: Element) -> dict[str, Element]:
    found = [item for item in page.all("li") if item.attributes.get("class") == "card"]
    return {card.all("h3")[0].text: card for card in found}


def test_signed_out_there_is_a_form_for_each_provider(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    page = home(visitor)
    forms = {form.all("button")[0].text: form.attributes for form in page.all("form")}
    assert forms == {
        "Sign in with Corp": {"method": "post", "action": "/accounts/oidc/corp/login/"},
        "Sign in with Other": {"method": "post", "action": "/accounts/oidc/other/login/"},
    }
    assert all(
        form.all("input")[0].attributes["name"] == "csrfmiddlewaretoken"
        for form in page.all("form")
    )


def test_signed_out_without_a_provider_the_page_says_so(
    store: Stack, settings: Settings, visitor: Visitor
) -> None:
    configure(settings, {})
    assert "No sign-in provider is configured" in home(visitor).text


def test_signed_in_the_page_says_who_and_what_is_held(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    page = home(visitor)

    assert page.all("h1")[0].text == "Signed in as ada"
    assert "ada@example.com" in page.text
    found = cards(page)
    held = facts(found["Corp"])
    assert held["Token"] == "Held"
    assert held["Refresh token"] == "Held"
    assert held["Scopes"] == "openid profile email"
    assert "59 minutes" in held["Expires"] or "1 hour" in held["Expires"]
    assert facts(found["Other"]) == {"Token": "None held"}


def test_times_are_readable_by_machines_and_in_the_future(
    corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    ends = [
        datetime.fromisoformat(time.attributes["datetime"]) for time in home(visitor).all("time")
    ]
    session_end, token_end = ends
    now = datetime.now(UTC)
    assert 0 < (token_end - now).total_seconds() <= 3600
    assert 6.9 < (session_end - now).total_seconds() / 86400 <= 7


def test_session_end_is_the_absolute_one(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(corp)
    before = home(visitor).all("time")[0].attributes["datetime"]
    store.clock.advance(3600)
    assert home(visitor).all("time")[0].attributes["datetime"] == before


def test_expired_token_is_called_expired(corp: FakeProvider, visitor: Visitor) -> None:
    corp.expires_in = 0
    visitor.sign_in(corp)
    assert facts(cards(home(visitor))["Corp"])["Token"] == "Expired"


def test_token_without_end_is_called_that(github: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(github, "github")
    held = facts(cards(home(visitor))["GitHub"])
    assert held["Expires"] == "The provider names no end"
    assert held["Refresh token"] == "None held"
    assert held["Scopes"] == "read:user user:email"


def test_other_providers_can_be_connected(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    (form,) = cards(home(visitor))["Other"].all("form")
    assert form.all("button")[0].text == "Connect Other"
    fields = {field.attributes["name"]: field.attributes["value"] for field in form.all("input")}
    assert fields["process"] == "connect"

    visitor.client.get(
        other.consent(visitor.client.post(form.attributes["action"], fields)["Location"])
    )

    page = home(visitor)
    assert facts(cards(page)["Other"])["Token"] == "Held"
    assert not cards(page)["Other"].all("form")


def test_unreadable_token_set_counts_as_none(corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    session = visitor.session
    session[tokens.session_key("corp")] = {"version": 99}
    session.save()
    assert facts(cards(home(visitor))["Corp"]) == {"Token": "None held"}


def test_names_from_the_provider_are_escaped(corp: FakeProvider, visitor: Visitor) -> None:
    corp.scope = "openid <script>alert(1)</script>"
    visitor.sign_in(corp)
    content = visitor.client.get("/").content.decode()
    assert "<script>" not in content
    assert "&lt;script&gt;" in content


def test_message_is_shown_once(corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    (status,) = [e for e in home(visitor).all("ul") if e.attributes.get("role") == "status"]
    assert "ada" in status.text
    assert not [e for e in home(visitor).all("ul") if e.attributes.get("role") == "status"]


def test_only_get_is_answered(store: Stack) -> None:
    assert Client().post("/").status_code == 405


@pytest.mark.parametrize("signed_in", [False, True])
def test_page_is_not_cached(corp: FakeProvider, visitor: Visitor, signed_in: bool) -> None:
    if signed_in:
        visitor.sign_in(corp)
    assert "no-store" in visitor.client.get("/").headers["Cache-Control"]
