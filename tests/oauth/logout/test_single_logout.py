"""Signing out at the provider as well: the redirects and their parameters."""

import logging
import re
import threading
import time
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.conf import settings as site
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from gateway_site.providers.configuration import read_providers
from oauth.logout.single_logout import ADDRESS_MAX, METADATA_WAIT
from oauth.network import concurrency
from oauth.provider import metadata
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import stored_tokens
from tests.support.cases import each_case

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


def address(page: str) -> str:
    """Return where the page's link leads."""
    (found,) = re.findall(r'<a id="single-logout"[^>]* href="([^"]*)">', page)
    return unescape(found)


def parameters(page: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address(page)).query))


def sign_out(visitor: Visitor) -> Any:
    return visitor.client.post("/accounts/logout/")


def signed_out_page(visitor: Visitor, idp: LogoutProvider) -> str:
    visitor.sign_in(idp)
    page: str = sign_out(visitor).content.decode()
    return page


@pytest.fixture
def state(leading: LogoutProvider, visitor: Visitor) -> str:
    """Sign out at the provider as well; return the state that it is sent."""
    return parameters(signed_out_page(visitor, leading))["state"]


def come_back(client: Client, **query: str) -> str:
    page = client.get(DONE, query, follow=True)
    assert page.redirect_chain == [("/", 302)]
    return page.content.decode()


def test_without_the_setting_sign_out_stays_here(at_idp: Visitor) -> None:
    response = sign_out(at_idp)
    assert (response.status_code, response["Location"]) == (302, "/")


def test_sign_out_redirects_to_the_provider_by_a_link(
    leading: LogoutProvider, at_idp: Visitor
) -> None:
    held = stored_tokens(at_idp)
    response = sign_out(at_idp)
    page = response.content.decode()
    assert response.status_code == 200
    assert "<h1>Signed out here</h1>" in page
    assert address(page).startswith(f"{leading.issuer}/end-session?")
    sent = parameters(page)
    state = sent.pop("state")
    assert sent == {
        "client_id": "gateway-client",
        "post_logout_redirect_uri": f"http://testserver{DONE}",
        "id_token_hint": held.id_token,
    }
    assert "corp" not in state
    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "same-origin"
    assert held.access_token not in page
    assert held.refresh_token not in page
    assert at_idp.user_id is None


@pytest.mark.parametrize("value", ["post", "post-no-hint"])
def test_sign_out_uses_a_form_if_configured(
    idp: LogoutProvider,
    visitor: Visitor,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    configure(settings, environment("corp", idp, SINGLE_LOGOUT=value))
    caplog.set_level(logging.DEBUG, "django.template")
    page = signed_out_page(visitor, idp)
    assert [secret for secret in idp.secrets if secret in caplog.text] == []
    assert f'method="post" action="{idp.issuer}/end-session"' in page
    sent = fields(page)
    assert ("id_token_hint" in sent) is (value == "post")
    assert sent["client_id"] == "gateway-client"
    assert "at Corp too" in come_back(visitor.client, state=sent["state"])


def test_parameters_of_the_endpoint_are_kept(leading: LogoutProvider, visitor: Visitor) -> None:
    leading.more_of_metadata = {"end_session_endpoint": f"{leading.issuer}/end?p=policy#part"}
    page = signed_out_page(visitor, leading)
    assert address(page).startswith(f"{leading.issuer}/end?p=policy&client_id=")
    assert "#" not in address(page)


def test_id_token_that_makes_the_address_too_long_stays_here(
    leading: LogoutProvider, visitor: Visitor
) -> None:
    leading.more_of_id_token = {"groups": "x" * ADDRESS_MAX}
    sent = parameters(signed_out_page(visitor, leading))
    assert set(sent) == {"client_id", "post_logout_redirect_uri", "state"}


def test_cognito_gets_its_own_parameters_and_is_not_trusted(
    leading: LogoutProvider, at_idp: Visitor, settings: Settings
) -> None:
    """https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html"""
    end = "https://pool.auth.eu-west-1.amazoncognito.com/logout"
    app = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]["settings"]
    app["server_url"] = issuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool"
    app["single_logout"] = "post"  # It takes a GET only.
    settings.SOCIALACCOUNT_PROVIDERS = {**settings.SOCIALACCOUNT_PROVIDERS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            metadata, "cached_metadata", lambda each: Known(end) if each.issuer == issuer else None
        )
        page = sign_out(at_idp).content.decode()
    assert address(page).startswith(f"{end}?")
    assert parameters(page) == {
        "client_id": "gateway-client",
        "logout_uri": f"http://testserver{DONE}",
    }
    back = come_back(at_idp.client)
    assert "You are signed out here." in back
    assert "too" not in back


class Known:
    """The metadata of a provider, as far as a sign-out needs it."""

    def __init__(self, end_session_endpoint: str) -> None:
        self.end_session_endpoint = end_session_endpoint


def test_grant_is_revoked_as_well(leading: LogoutProvider, at_idp: Visitor) -> None:
    sign_out(at_idp)
    assert concurrency.drain_background(20)
    assert len(leading.revocations) == 1


def test_id_token_is_not_sent_if_so_configured(
    idp: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", idp, SINGLE_LOGOUT="no-hint"))
    page = signed_out_page(visitor, idp)
    assert set(parameters(page)) == {"client_id", "post_logout_redirect_uri", "state"}
    assert [secret for secret in idp.secrets if secret in page] == []


def test_single_logout_uses_the_provider_of_the_sign_in(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    variables = environment("corp", idp, CLIENT_ID=idp.client_id, SINGLE_LOGOUT="1")
    configure(settings, variables | environment("other", second, SINGLE_LOGOUT="1"))
    visitor.sign_in(second, "other")
    visitor.connect(idp, "corp")
    assert second.issuer + "/end-session" in sign_out(visitor).content.decode()


def test_provider_without_the_endpoint_gets_no_logout(
    leading: LogoutProvider, visitor: Visitor
) -> None:
    leading.more_of_metadata = {"end_session_endpoint": None}
    visitor.sign_in(leading)
    assert sign_out(visitor)["Location"] == "/"


def test_anonymous_visitor_is_not_redirected(leading: LogoutProvider, visitor: Visitor) -> None:
    assert sign_out(visitor)["Location"] == "/"


def test_confirmation_page_keeps_the_user_signed_in(
    leading: LogoutProvider, at_idp: Visitor
) -> None:
    page = at_idp.client.get("/accounts/logout/").content.decode()
    assert "end-session" not in page
    assert at_idp.user_id is not None


def test_sign_out_needs_the_csrf_token(leading: LogoutProvider, at_idp: Visitor) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = at_idp.client.cookies
    assert strict.post("/accounts/logout/").status_code == 403
    assert at_idp.user_id is not None


def test_provider_that_hangs_delays_the_sign_out_by_a_second(
    leading: LogoutProvider, at_idp: Visitor
) -> None:
    metadata.clear_metadata_cache()
    may_response, gave_up = threading.Event(), threading.Event()

    def hang() -> None:
        if not may_response.wait(METADATA_WAIT + 60):
            gave_up.set()

    leading.hooks[DISCOVERY] = hang
    response = sign_out(at_idp)
    assert not gave_up.is_set()  # The provider has not answered yet.
    may_response.set()
    assert response["Location"] == "/"
    assert at_idp.user_id is None


# The way back


def test_return_with_our_state_confirms_the_logout_once(visitor: Visitor, state: str) -> None:
    assert "You are signed out here, and at Corp too." in come_back(visitor.client, state=state)
    assert "at Corp too" not in come_back(visitor.client, state=state)


@pytest.mark.parametrize("other", ["", "nonsense", "x" * 43, "😀"])
def test_return_with_another_state_confirms_only_the_local_logout(
    visitor: Visitor, state: str, other: str
) -> None:
    page = come_back(visitor.client, state=other)
    assert "You are signed out here." in page
    assert "at Corp too" not in page
    # A link of somebody's ends nothing.
    assert "at Corp too" in come_back(visitor.client, state=state)


def test_state_of_another_browser_is_not_accepted(leading: LogoutProvider, state: str) -> None:
    elsewhere = Visitor()
    assert "too" not in come_back(elsewhere.client, state=state)
    signed_out_page(elsewhere, leading)
    assert "too" not in come_back(elsewhere.client, state=state)


def test_unsigned_cookie_is_ignored(leading: LogoutProvider, visitor: Visitor) -> None:
    visitor.client.cookies[site.OAUTH_LOGOUT_COOKIE_NAME] = "WyJjb3JwIiwgInN0YXRlIl0:1:x"
    assert "too" not in come_back(visitor.client, state="state")


def test_late_return_confirms_only_the_local_logout(
    visitor: Visitor, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: later)
    assert "too" not in come_back(visitor.client, state=state)


def test_return_after_a_new_sign_in_shows_no_message(
    leading: LogoutProvider, visitor: Visitor, state: str
) -> None:
    visitor.sign_in(leading)
    assert "signed out" not in come_back(visitor.client, state=state)
    assert visitor.user_id is not None


def test_cookie_is_host_only_and_hidden_from_scripts(
    leading: LogoutProvider, visitor: Visitor
) -> None:
    signed_out_page(visitor, leading)
    cookie = visitor.client.cookies[site.OAUTH_LOGOUT_COOKIE_NAME]
    held = {name: cookie[name] for name in ("path", "domain", "samesite", "httponly", "max-age")}
    assert held == {"path": "/", "domain": "", "samesite": "Lax", "httponly": True, "max-age": 600}
    assert bool(cookie["secure"]) is site.SESSION_COOKIE_SECURE


# Its variables


@each_case(
    ("value", "setting"),
    [
        ("1", "hint"),
        ("yes", "hint"),
        ("no-hint", "no-hint"),
        ("post", "post"),
        ("post-no-hint", "post-no-hint"),
        ("0", None),
        ("", None),
    ],
)
def test_variable_chooses_the_kind(value: str, setting: str | None) -> None:
    provider = LogoutProvider(issuer="https://idp.example")
    (found,) = read_providers(environment("corp", provider, SINGLE_LOGOUT=value))
    assert found.allauth_app()["settings"].get("single_logout") == setting


def test_invalid_variable_is_rejected_by_name() -> None:
    provider = LogoutProvider(issuer="https://idp.example")
    with pytest.raises(
        ImproperlyConfigured, match="OAUTH_CORP_SINGLE_LOGOUT must be 1, 0 or one of these: no-hint"
    ):
        read_providers(environment("corp", provider, SINGLE_LOGOUT="get"))
