"""Disconnecting an account: confirmed, only one's own, and never the last."""

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from pytest_django import Settings

from tests.gateway_site.support.home_page import (
    accounts,
    buttons,
    cards,
    fields,
    home,
    links,
    status,
)
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment


def test_only_account_cannot_be_disconnected(signed_in: Visitor) -> None:
    assert links(cards(home(signed_in))["Corp"]) == {}
    account = SocialAccount.objects.get()

    response = signed_in.client.post("/accounts/3rdparty/", {"account": account.pk})

    page = assert_accessible(response.content.decode())
    (alert,) = [e for e in page.all("div") if e.attributes.get("role") == "alert"]
    assert "last remaining" in alert.text
    assert SocialAccount.objects.filter(pk=account.pk).exists()
    assert signed_in.load_tokens() is not None


def test_disconnecting_asks_for_confirmation(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    visitor.connect(other)
    shown = links(cards(home(visitor))["Other"])
    (address,) = [shown[each] for each in shown if each.startswith("Disconnect")]

    response = visitor.client.get(address)
    assert "no-store" in response["Cache-Control"]
    page = assert_accessible(response.content.decode())
    assert page.all("h1")[0].text == "Disconnect Other?"
    assert SocialAccount.objects.filter(provider="other").exists()
    (form,) = page.all("main")[0].all("form")
    assert buttons(form) == ["Disconnect Other"]
    response = visitor.client.post(form.attributes["action"], fields(form), follow=True)

    assert response.redirect_chain == [("/", 302)]
    assert "disconnected" in response.content.decode()
    found = cards(home(visitor))
    assert status(found["Other"]) == "Not connected"
    assert status(found["Corp"]) == "Connected"


@pytest.mark.parametrize(("choice", "is_said"), [("last", True), ("never", False)])
def test_disconnecting_says_what_else_ends(
    corp: FakeProvider, visitor: Visitor, settings: Settings, choice: str, *, is_said: bool
) -> None:
    configure(settings, environment("corp", corp, REVOCATION=choice))
    visitor.sign_in(corp)
    page = visitor.client.get("/accounts/3rdparty/").content.decode()
    assert ("Your other sessions and apps may lose this account too." in page) is is_said


def test_two_accounts_at_one_provider_are_distinguished(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    corp.person = {"sub": "2002", "email": "bob@example.com", "name": "Bob"}
    signed_in.connect(corp, "corp")

    card = cards(home(signed_in))["Corp"]

    first, second = accounts(card)
    assert "used for calls" not in first
    assert second.startswith("bob@example.com used for calls")
    assert list(links(card)) == [
        "Disconnect ada@example.com of Corp",
        "Disconnect bob@example.com of Corp",
    ]


def test_another_persons_account_cannot_be_disconnected(
    corp: FakeProvider, other: FakeProvider, connected: Visitor
) -> None:
    account = SocialAccount.objects.get(provider="other")
    corp.person = {"sub": "2002", "email": "bob@example.com", "name": "Bob"}
    somebody = Visitor()
    somebody.sign_in(corp)

    assert somebody.client.get(f"/accounts/3rdparty/?account={account.pk}").status_code == 404
    assert somebody.client.post("/accounts/3rdparty/", {"account": account.pk}).status_code == 404
    assert somebody.client.get("/accounts/3rdparty/?account=x").status_code == 404

    assert SocialAccount.objects.filter(pk=account.pk).exists()


def test_disconnecting_needs_the_csrf_token(other: FakeProvider, connected: Visitor) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = connected.client.cookies
    account = SocialAccount.objects.get(provider="other")
    assert strict.post("/accounts/3rdparty/", {"account": account.pk}).status_code == 403
    assert SocialAccount.objects.filter(pk=account.pk).exists()


def test_account_whose_provider_is_gone_is_left_out(
    corp: FakeProvider, connected: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, CLIENT_ID="the-corp-client"))
    assert list(cards(home(connected))) == ["Corp"]
    page = assert_accessible(connected.client.get("/accounts/3rdparty/").content.decode())
    assert [heading.text for heading in page.all("h2")] == ["Corp"]
