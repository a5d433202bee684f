"""Signing out of the provider as well: who is led where, with what, and who is not."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.core import signing
from django.test import Client
from pytest_django import Settings

from gateway_site.providers import configured
from oauth import background, endpoints
from oauth.single_logout import METADATA_WAIT, SALT
from tests.oauth.fixtures import Visitor, configure, environment
from tests.oauth.logout_provider import LogoutProvider

DONE = "/accounts/logout/done/"
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def leading(idp: LogoutProvider, settings: Settings) -> LogoutProvider:
    """Configure single logout at the provider."""
    configure(settings, environment("corp", idp, SINGLE_LOGOUT="1"))
    return idp


def fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def sign_out(visitor: Visitor) -> Any:
    return visitor.client.post("/accounts/logout/")


def test_without_the_setting_sign_out_stays_here(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    response = sign_out(visitor)
    assert (response.status_code, response["Location"]) == (302, "/")


def test_browser_is_led_to_the_provider_by_a_form(
    leading: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(leading)
    held = visitor.held()
    assert held is not None
    response = sign_out(visitor)
    page = response.content.decode()
    assert response.status_code == 200
    assert f'method="post" action="{leading.issuer}/end-session"' in page
    sent = fields(page)
    state = sent.pop("state")
    assert sent == {
        "client_id": "gateway-client",
        "post_logout_redirect_uri": f"http://testserver{DONE}",
        "id_token_hint": held.id_token,
    }
    assert "corp" not in state
    assert "no-store" in response["Cache-Control"]
    assert held.access_token not in page
    assert held.refresh_token not in page
    assert visitor.user_id is None


def test_grant_is_revoked_as_well(leading: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(leading)
    sign_out(visitor)
    assert background.drain(20)
    assert len(leading.revocations) == 1


def test_id_token_stays_here_if_so_configured(
    idp: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", idp, SINGLE_LOGOUT="no-hint"))
    visitor.sign_in(idp)
    page = sign_out(visitor).content.decode()
    assert set(fields(page)) == {"client_id", "post_logout_redirect_uri", "state"}
    assert [secret for secret in idp.secrets if secret in page] == []


def test_provider_that_was_signed_in_with_is_left_among_several(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    variables = environment("corp", idp, CLIENT_ID=idp.client_id, SINGLE_LOGOUT="1")
    configure(settings, variables | environment("other", second, SINGLE_LOGOUT="1"))
    visitor.sign_in(second, "other")
    visitor.connect(idp, "corp")
    assert second.issuer + "/end-session" in sign_out(visitor).content.decode()


def test_provider_without_the_endpoint_is_not_left(
    leading: LogoutProvider, visitor: Visitor
) -> None:
    leading.more_of_metadata = {"end_session_endpoint": None}
    visitor.sign_in(leading)
    assert sign_out(visitor)["Location"] == "/"


def test_signed_out_visitor_is_led_nowhere(leading: LogoutProvider, visitor: Visitor) -> None:
    assert sign_out(visitor)["Location"] == "/"


def test_confirmation_page_signs_nobody_out(leading: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(leading)
    page = visitor.client.get("/accounts/logout/").content.decode()
    assert "end-session" not in page
    assert visitor.user_id is not None


def test_sign_out_needs_the_csrf_token(leading: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(leading)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = visitor.client.cookies
    assert strict.post("/accounts/logout/").status_code == 403
    assert visitor.user_id is not None


def test_provider_that_hangs_delays_the_sign_out_by_a_second(
    leading: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(leading)
    endpoints.forget()
    may_answer, gave_up = threading.Event(), threading.Event()

    def hang() -> None:
        if not may_answer.wait(METADATA_WAIT + 60):
            gave_up.set()

    leading.hooks[DISCOVERY] = hang
    response = sign_out(visitor)
    assert not gave_up.is_set()  # The provider has not answered yet.
    may_answer.set()
    assert response["Location"] == "/"
    assert visitor.user_id is None


# The way back


def test_return_says_that_it_was_done(leading: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(leading)
    state = fields(sign_out(visitor).content.decode())["state"]
    page = visitor.client.get(DONE, {"state": state}, follow=True)
    assert page.redirect_chain == [("/", 302)]
    assert "You are signed out of Corp as well." in page.content.decode()


STATES: dict[str, Callable[[], str]] = {
    "none": lambda: "",
    "nonsense": lambda: "nonsense",
    "of an unknown provider": lambda: signing.dumps("nobody", salt=SALT),
    "of another type": lambda: signing.dumps(["corp"], salt=SALT),
    "signed for something else": lambda: signing.dumps("corp", salt="another"),
}


@pytest.mark.parametrize("state", STATES)
def test_return_without_a_good_state_says_nothing(
    leading: LogoutProvider, visitor: Visitor, state: str
) -> None:
    page = visitor.client.get(DONE, {"state": STATES[state]()}, follow=True)
    assert page.redirect_chain == [("/", 302)]
    assert "as well" not in page.content.decode()


def test_return_that_comes_late_says_nothing(
    leading: LogoutProvider, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = time.time() - 601
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: long_ago)
        state = signing.dumps("corp", salt=SALT)
    page = visitor.client.get(DONE, {"state": state}, follow=True)
    assert "as well" not in page.content.decode()


# Its variables


@pytest.mark.parametrize(
    ("value", "setting"),
    [("1", "hint"), ("yes", "hint"), ("no-hint", "no-hint"), ("0", None), ("", None)],
)
def test_variable_chooses_the_kind(value: str, setting: str | None) -> None:
    provider = LogoutProvider(issuer="https://idp.example")
    (found,) = configured(environment("corp", provider, SINGLE_LOGOUT=value))
    assert found.allauth_app()["settings"].get("single_logout") == setting
