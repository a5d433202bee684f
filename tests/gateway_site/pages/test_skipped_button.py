"""`SKIP_PROVIDER_BUTTON`: straight to the only provider, and never round in circles."""

from urllib.parse import urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor

PAGE = {"Accept": "text/html"}
SIGN_IN = "/accounts/login/"


@pytest.fixture(autouse=True)
def skipping(settings: Settings) -> None:
    settings.SKIP_PROVIDER_BUTTON = True


def skips(client: Client, address: str = SIGN_IN, headers: dict[str, str] = PAGE) -> bool:
    """Return True if a page leads to the provider by itself; it shows the button otherwise."""
    response = client.get(address, headers=headers)
    if response.get("Location") == SIGN_IN:
        response = client.get(SIGN_IN, headers=headers)
    if response.status_code == 302:
        return urlsplit(response["Location"]).path == "/authorize"
    assert response.status_code == 200
    assert b"Sign in with" in response.content
    return False


def test_page_that_needs_a_sign_in_is_reached_without_a_button(
    corp: FakeProvider, visitor: Visitor
) -> None:
    led = visitor.client.get("/sessions/?a=1&b=2", headers=PAGE)
    started = visitor.client.get(led["Location"], headers=PAGE)
    done = visitor.client.get(corp.consent(started["Location"]))
    assert done["Location"] == "/sessions/?a=1&b=2"
    assert visitor.user_id is not None


def test_home_page_redirects_to_the_provider(corp: FakeProvider) -> None:
    led = Client().get("/", headers=PAGE)
    assert led["Location"] == SIGN_IN  # by the page that asks the provider, in a line of its own
    assert skips(Client(), "/")


def test_no_redirect_to_the_provider_after_a_sign_out_until_the_next_sign_in(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    signed_in.client.post("/accounts/logout/")
    for address in ("/", SIGN_IN, f"{SIGN_IN}?next=/sessions/"):
        assert not skips(signed_in.client, address)
    marker = signed_in.client.cookies["gateway_signed-out"]
    assert (marker["httponly"], marker["samesite"], marker["max-age"]) == (True, "Lax", "")
    signed_in.sign_in(corp)
    assert signed_in.client.cookies["gateway_signed-out"].value == ""
    signed_in.client.cookies.pop("gateway_sessionid")  # it ran out
    assert skips(signed_in.client)


def test_browser_that_keeps_no_cookies_does_not_go_round(corp: FakeProvider) -> None:
    started = Client().get(SIGN_IN, headers=PAGE)
    back = Client().get(corp.consent(started["Location"]))
    assert not skips(Client(), back["Location"])


def test_failure_ends_on_a_page(corp: FakeProvider, visitor: Visitor) -> None:
    started = visitor.client.get(SIGN_IN, headers=PAGE)
    denied = visitor.client.get(corp.consent(started["Location"], error="access_denied"))
    assert visitor.client.get(denied["Location"]).status_code == 200
    corp.failing["/token"] = lambda: (500, "text/plain", b"")
    started = visitor.client.get(SIGN_IN, headers=PAGE)
    assert visitor.client.get(corp.consent(started["Location"])).status_code == 503


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "no-cors", "Accept": "text/html"},
        {"Accept": "*/*"},
        {"Accept": "text/html", "Sec-Purpose": "prefetch"},
    ],
)
def test_what_no_person_waits_for_begins_no_sign_in(
    headers: dict[str, str], corp: FakeProvider
) -> None:
    client = Client()
    assert not skips(client, headers=headers)
    assert "gateway_sessionid" not in client.cookies


def test_two_providers_are_offered(other: FakeProvider) -> None:
    assert not skips(Client())


def test_button_is_shown_unless_it_is_skipped(
    corp: FakeProvider, settings: Settings, visitor: Visitor
) -> None:
    settings.SKIP_PROVIDER_BUTTON = False
    assert not skips(visitor.client)
    visitor.sign_in(corp)
    visitor.client.post("/accounts/logout/")
    assert "gateway_signed-out" not in visitor.client.cookies
