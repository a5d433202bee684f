"""Every page that can be reached has the same look, the error pages without a session."""

import pytest
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.urls import path
from pytest_django import Settings

from gateway_site.urls import urlpatterns as project
from tests.gateway_site.support.page_requests import assert_accessible, parse
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("canary")


urlpatterns = [path("fail", fail), *project]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/", 200),
        ("/accounts/login/", 200),
        ("/accounts/login/?next=/x", 200),
        ("/accounts/inactive/", 200),
        ("/accounts/oidc/corp/login/", 200),
        ("/accounts/oidc/corp/login/?process=connect", 200),
        ("/accounts/3rdparty/login/cancelled/", 200),
        ("/accounts/3rdparty/login/error/", 401),
        ("/accounts/login/?again=1", 200),
        ("/not-there", 404),
    ],
)
def test_page_of_a_stranger(corp: FakeProvider, address: str, status: int) -> None:
    response = Client().get(address)
    assert response.status_code == status
    assert_accessible(response.content.decode())


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/accounts/logout/",
        "/accounts/3rdparty/",
        "/accounts/3rdparty/login/cancelled/",
        "/accounts/3rdparty/login/error/",
        "/nothing",
    ],
)
def test_page_of_a_signed_in_user(signed_in: Visitor, address: str) -> None:
    assert_accessible(signed_in.client.get(address).content.decode())


@pytest.mark.parametrize("method", ["get", "post"])
def test_pending_sign_up_of_an_earlier_release_shows_no_form(
    corp: FakeProvider, visitor: Visitor, method: str
) -> None:
    with override_settings(SOCIALACCOUNT_AUTO_SIGNUP=False):
        address = visitor.sign_in(corp)["Location"]
    assert address == "/accounts/3rdparty/signup/"
    response = getattr(visitor.client, method)(address, {"username": "ada", "email": "a@b.example"})
    assert (response.status_code, response["Location"]) == (302, "/accounts/login/")
    assert visitor.user_id is None


def navigation(content: str) -> dict[str, str]:
    """Return the pages that a page links to, by label; the present one with an asterisk."""
    (found,) = parse(content).all("nav")
    return {
        link.text + ("*" if "aria-current" in link.attributes else ""): link.attributes["href"]
        for link in found.all("a")
    }


def test_every_page_links_to_the_others(corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    expected = {"Connections*": "/", "Sessions": "/sessions/", "Apps": "/apps/"}
    assert navigation(visitor.client.get("/").content.decode()) == expected
    get_user_model().objects.update(is_staff=True)
    found = navigation(visitor.client.get("/accounts/logout/").content.decode())
    assert list(found.values()) == ["/", "/sessions/", "/apps/", "/admin/"]
    assert "Connections" in found  # which this page is not


def test_apps_page_is_not_linked_without_oauth_clients(
    signed_in: Visitor, settings: Settings
) -> None:
    settings.ROOT_URLCONF = "gateway_site.urls"
    assert "Apps" not in navigation(signed_in.client.get("/").content.decode())


@each_case("name", ["400", "403", "403_csrf", "404", "429", "500", "503"])
def test_error_page_links_to_the_others_without_a_request(name: str) -> None:
    assert list(navigation(render_to_string(f"{name}.html"))) == ["Connections", "Sessions", "Apps"]


def test_stranger_is_offered_to_sign_in(corp: FakeProvider) -> None:
    content = Client().get("/accounts/inactive/").content.decode()
    assert navigation(content) == {"Sign in": "/accounts/login/"}


def test_closed_sign_up() -> None:
    page = render_to_string("account/signup_closed.html", {"request_id": "0123"})
    assert "signup_closed (request 0123)" in assert_accessible(page).text


@each_case("name", ["400", "403", "403_csrf", "404", "414", "429", "431", "500", "503"])
def test_error_page_needs_no_request(name: str) -> None:
    assert_accessible(render_to_string(f"{name}.html"))


def test_error_page_does_not_load_the_session(
    signed_in: Visitor, store: Stack, settings: Settings
) -> None:
    settings.ROOT_URLCONF = __name__
    signed_in.client.raise_request_exception = False
    before = len(store.dynamodb.calls)

    response = signed_in.client.get("/fail")

    assert response.status_code == 500
    assert "canary" not in response.content.decode()
    assert len(store.dynamodb.calls) == before
    assert signed_in.client.get("/nothing").status_code == 404
    assert len(store.dynamodb.calls) == before


def test_store_outage_gives_the_503_page_with_every_header_and_keeps_the_cookie(
    signed_in: Visitor, store: Stack
) -> None:
    store.dynamodb.unavailable = True
    signed_in.client.raise_request_exception = False

    response = signed_in.client.get("/")

    assert response.status_code == 503
    assert "If you were signed in, you still are" in response.content.decode()
    assert_accessible(response.content.decode())
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not response.cookies
    store.dynamodb.unavailable = False
    assert b"Signed in as" in signed_in.client.get("/").content


def test_admin_redirects_to_the_providers(store: Stack) -> None:
    response = Client().get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == "/accounts/login/?next=%2Fadmin%2F"
    response = Client().post("/admin/login/", {"username": "a", "password": "b"})
    assert response.headers["Location"].startswith("/accounts/login/")


def test_admin_opens_to_staff_who_signed_in_by_a_provider(signed_in: Visitor) -> None:
    assert signed_in.client.get("/admin/", follow=True).status_code == 403

    get_user_model().objects.update(is_staff=True, is_superuser=True)
    page = signed_in.client.get("/admin/").content.decode()

    assert "Gateway administration" in page
    assert 'href="/sessions/">Sessions<' in page
    assert "View site" not in page
    assert "Social accounts" in page
    assert "Social applications" not in page  # they would hold secrets
    assert "Social application tokens" not in page
    assert 'href="/admin/"' in signed_in.client.get("/").content.decode()
