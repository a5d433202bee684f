"""Cookies and headers as production sends them."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from tests.gateway_site.support.hosts import HOST
from tests.gateway_site.support.loading import production
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack


@pytest.fixture
def browser(store: Stack, in_production: None) -> Client:
    return Client(headers={"host": HOST}, SERVER_NAME=HOST)


def test_every_page_carries_the_headers(browser: Client) -> None:
    for path in ("/", "/accounts/login/", "/not-there", "/admin/"):
        headers = browser.get(path, secure=True).headers
        assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Document-Policy"] == "force-load-at-top"


def test_content_security_policy_is_strict(browser: Client) -> None:
    policy = browser.get("/", secure=True).headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "connect-src": "'self'",
        "font-src": "'self'",
        "form-action": "'self' https://accounts.google.com https://github.com"
        " https://login.example.com",
        "frame-ancestors": "'none'",
        "img-src": "'self'",
        "script-src": "'self'",
        "style-src": "'self'",
    }


def test_http_is_redirected_to_https(browser: Client) -> None:
    response = browser.get("/accounts/login/")
    assert response.status_code == 301
    assert response.headers["Location"] == f"https://{HOST}/accounts/login/"


def test_named_proxy_header_is_trusted(browser: Client) -> None:
    assert browser.get("/", headers={"X-Forwarded-Proto": "https"}).status_code == 200


def test_unnamed_proxy_header_is_ignored(browser: Client, settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = None
    assert browser.get("/", headers={"X-Forwarded-Proto": "https"}).status_code == 301


def test_other_host_is_refused_with_a_page(browser: Client) -> None:
    response = browser.get("/", secure=True, headers={"host": "evil.example"})
    assert response.status_code == 400
    assert "Bad request" in response.content.decode()


def test_anonymous_page_sets_no_session_cookie_and_does_not_use_the_store(
    browser: Client, store: Stack, settings: Settings
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = production()["SOCIALACCOUNT_PROVIDERS"]
    store.dynamodb.unavailable = True
    response = browser.get("/", secure=True)
    assert response.status_code == 200
    assert set(response.cookies) == {"__Host-csrftoken"}
    assert "no-cache" in response.headers["Cache-Control"]


def test_cookies_are_safe(corp: FakeProvider, in_production: None) -> None:
    visitor = Visitor()
    visitor.client = Client(headers={"host": HOST, "X-Forwarded-Proto": "https"})
    visitor.client.get("/accounts/login/")
    visitor.sign_in(corp)
    cookies: dict[str, Any] = dict(visitor.client.cookies)

    known = {"__Host-sessionid", "__Host-csrftoken", "__Host-messages"}
    (changed,) = set(cookies) - known  # The sign-in changed the session's key.
    assert changed.startswith("__Host-sessionid-next-")
    assert set(cookies) == {*known, changed}
    for name, cookie in cookies.items():
        assert cookie["secure"], name
        assert cookie["httponly"], name
        assert cookie["samesite"] == "Lax", name
        assert cookie["path"] == "/", name
        assert cookie["domain"] == "", name
    assert 7 * 24 * 3600 - 60 < int(cookies["__Host-sessionid"]["max-age"]) <= 7 * 24 * 3600


def test_callback_address_is_https_behind_the_proxy(
    corp: FakeProvider, in_production: None
) -> None:
    visitor = Visitor()
    visitor.client = Client(headers={"host": HOST, "X-Forwarded-Proto": "https"})
    visitor.sign_in(corp)
    redirect = corp.authorizations[0]["redirect_uri"]
    assert redirect == f"https://{HOST}/accounts/oidc/corp/login/callback/"


@pytest.mark.parametrize("path", ["/accounts/oidc/corp/login/", "/accounts/logout/"])
def test_forms_need_a_csrf_token(corp: FakeProvider, path: str) -> None:
    response = Client(enforce_csrf_checks=True).post(path)
    assert response.status_code == 403
    assert "The form has expired" in response.content.decode()


@pytest.mark.parametrize(
    "path",
    ["signup/", "password/reset/", "password/change/", "password/set/", "email/", "login/code/"],
)
def test_passwords_and_password_sign_up_are_off(store: Stack, path: str) -> None:
    assert Client().get(f"/accounts/{path}").status_code == 404
    assert Client().post(f"/accounts/{path}").status_code == 404


def test_password_sign_in_is_off(store: Stack) -> None:
    assert Client().post("/accounts/login/", {"login": "a", "password": "b"}).status_code == 403
