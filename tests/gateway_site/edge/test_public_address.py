"""Under `PUBLIC_URL` every absolute address is the public one, whatever Host a request names."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings

from gateway_site.edge.middleware import PublicAddressMiddleware
from tests.deploy_check import PRODUCTION
from tests.gateway_site.support.loading import load_settings, local, production
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, address

PUBLIC = "https://gateway.example.com"
INTERNAL = {"host": "gateway-7.internal:8000"}


@pytest.fixture(autouse=True)
def public(settings: Settings) -> None:
    settings.PUBLIC_URL = PUBLIC
    settings.ALLOWED_HOSTS = [".internal", "gateway.example.com", "testserver"]


def test_redirect_uri_is_the_public_one(corp: FakeProvider) -> None:
    started = Client().post(address("corp"), secure=True, headers=INTERNAL)
    [uri] = parse_qs(urlsplit(started["Location"]).query)["redirect_uri"]
    assert uri == f"{PUBLIC}/accounts/oidc/corp/login/callback/"


def test_address_that_a_view_builds_is_the_public_one() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.build_absolute_uri(reverse("oauth_signed_out")))

    request = RequestFactory().get("/", secure=True, headers=INTERNAL)
    response = PublicAddressMiddleware(view)(request)
    assert isinstance(response, HttpResponse)
    assert response.content.decode() == f"{PUBLIC}/accounts/logout/done/"


def test_forms_of_the_public_origin_may_post_and_no_others(corp: FakeProvider) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/", secure=True, headers=INTERNAL)
    token = {"X-CSRFToken": client.cookies["gateway_csrftoken"].value}
    answers = {
        origin: client.post(
            address("corp"), secure=True, headers={**INTERNAL, **token, "Origin": origin}
        ).status_code
        for origin in (PUBLIC, "https://gateway-7.internal:8000", "https://evil.example")
    }
    assert answers == {
        PUBLIC: 302, "https://gateway-7.internal:8000": 403, "https://evil.example": 403
    }  # fmt: skip


def test_sign_in_leads_to_the_public_origin_only(corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    for target, led in {
        f"{PUBLIC}/sessions/": f"{PUBLIC}/sessions/",
        "https://gateway-7.internal:8000/": "/",
    }.items():
        page = visitor.client.get(
            "/accounts/login/", {"next": target}, secure=True, headers=INTERNAL
        )
        assert page["Location"] == led


def test_host_that_is_not_allowed_is_refused_still(corp: FakeProvider) -> None:
    assert Client().get("/", headers={"host": "evil.example"}).status_code == 400


def test_public_address_is_an_allowed_host_and_makes_the_list_needless() -> None:
    without = {name: value for name, value in PRODUCTION.items() if name != "ALLOWED_HOSTS"}
    loaded = load_settings(without | {"PUBLIC_URL": "https://Gateway.example.com:8443/"})
    assert loaded["PUBLIC_URL"] == "https://gateway.example.com:8443"
    assert loaded["ALLOWED_HOSTS"] == ["gateway.example.com"]
    assert loaded["MISSING_VARIABLES"] == []
    both = production(PUBLIC_URL=PUBLIC, ALLOWED_HOSTS="gateway-7.internal")
    assert both["ALLOWED_HOSTS"] == ["gateway-7.internal", "gateway.example.com"]
    assert local(PUBLIC_URL="http://127.0.0.1:8000")["PUBLIC_URL"] == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "value",
    [
        "gateway.example.com",
        "http://gateway.example.com",
        "https://gateway.example.com/app",
        "https://gateway.example.com?x",
        "https://user@gateway.example.com",
        "https://",
        "https://*.example.com",
        "https://a b",
    ],
)
def test_public_address_is_https_without_a_path(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^PUBLIC_URL must (be|begin with) https://"):
        production(PUBLIC_URL=value)


def test_local_run_has_a_public_address_on_loopback_only() -> None:
    for value in ("https://gateway.example.com", "http://gateway.example.com"):
        with pytest.raises(ImproperlyConfigured, match="PUBLIC_URL"):
            local(PUBLIC_URL=value)
