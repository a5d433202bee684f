"""Under `PUBLIC_URL` every absolute address is the public one, whatever Host a request names."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from csp.constants import NONCE, SELF
from csp.decorators import csp, csp_exempt, csp_replace, csp_update
from csp.exceptions import CSPNonceError
from csp.middleware import CSPMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings

from gateway_site.edge.middleware import ContentPolicyMiddleware, PublicAddressMiddleware
from tests.deploy_check import PRODUCTION
from tests.gateway_site.support.loading import load_settings, local, production
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, address
from tests.support.cases import each_case

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
    responses = {
        origin: client.post(
            address("corp"), secure=True, headers={**INTERNAL, **token, "Origin": origin}
        ).status_code
        for origin in (PUBLIC, "https://gateway-7.internal:8000", "https://evil.example")
    }
    assert responses == {
        PUBLIC: 302, "https://gateway-7.internal:8000": 403, "https://evil.example": 403
    }  # fmt: skip


def test_sign_in_redirects_only_to_the_public_origin(signed_in: Visitor) -> None:
    for target, led in {
        f"{PUBLIC}/sessions/": f"{PUBLIC}/sessions/",
        "https://gateway-7.internal:8000/": "/",
    }.items():
        page = signed_in.client.get(
            "/accounts/login/", {"next": target}, secure=True, headers=INTERNAL
        )
        assert page["Location"] == led


def test_disallowed_host_is_still_rejected(corp: FakeProvider) -> None:
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


@each_case(
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


View = Callable[[HttpRequest], HttpResponseBase]
POLICY = {"DIRECTIVES": {"default-src": [SELF], "script-src": [SELF, NONCE]}}
NAMES = ("Content-Security-Policy", "Content-Security-Policy-Report-Only")


def usual(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def with_nonce(request: HttpRequest) -> HttpResponse:
    setattr(request, "_csp_nonce", "a-nonce")  # noqa: B010 - as it is once it was looked at
    return HttpResponse()


def with_a_policy_of_its_own(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={NAMES[0]: "default-src 'none'"})


VIEWS: list[View] = [
    usual,
    with_nonce,
    with_a_policy_of_its_own,
    csp_update({"img-src": "a.example"})(usual),
    csp_replace({"default-src": "a.example"})(usual),
    csp({"default-src": ["a.example"]})(usual),
    csp_exempt()(usual),
    csp_exempt(REPORT_ONLY=True)(usual),
    csp_update({"img-src": "a.example"}, REPORT_ONLY=True)(usual),
]


def policies(middleware: type[CSPMiddleware], view: View) -> list[list[set[str] | None]]:
    """Return the directives of each header, of two responses after a usual one."""
    views = iter([usual, view, view])

    def in_turn(request: HttpRequest) -> HttpResponseBase:
        return next(views)(request)

    made: Any = middleware(in_turn)
    responses = [made(RequestFactory().get("/")) for _ in range(3)]
    return [[_directives(response.get(name)) for name in NAMES] for response in responses]


def _directives(header: str | None) -> set[str] | None:
    return None if header is None else set(header.split("; "))


@pytest.mark.parametrize("report_only", [None, {"DIRECTIVES": {"default-src": ["b.example"]}}])
@pytest.mark.parametrize("view", VIEWS)
def test_policy_is_that_of_django_csp(
    settings: Settings, view: View, report_only: dict[str, object] | None
) -> None:
    settings.CONTENT_SECURITY_POLICY = POLICY
    settings.CONTENT_SECURITY_POLICY_REPORT_ONLY = report_only
    assert policies(ContentPolicyMiddleware, view) == policies(CSPMiddleware, view)


def test_nonce_used_after_the_headers_is_an_error() -> None:
    request = RequestFactory().get("/")
    for _ in range(2):
        ContentPolicyMiddleware(usual)(request)
        with pytest.raises(CSPNonceError):
            str(request.csp_nonce)  # type: ignore[attr-defined]
