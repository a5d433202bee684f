"""Which middleware a project may add, since `MIDDLEWARE` does not see calls."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.middleware.common import CommonMiddleware
from pytest_django import Settings

from gateway_site.checks import check_middleware_of_calls
from gateway_site.forwarding.asgi import GatewayHandler


class Foreign(CommonMiddleware):
    """A middleware that nobody has looked at."""


STEP, PAGES = "a step of calls", "pages only"
MIDDLEWARE = {
    "gateway_site.edge.own_cookies.OwnCookiesMiddleware": STEP,  # Calls._make_request
    "gateway_site.health.HealthMiddleware": PAGES,
    "gateway_site.edge.middleware.PublicAddressMiddleware": STEP,  # use_public_host
    "django.middleware.security.SecurityMiddleware": STEP,  # the redirect; fixed_headers
    "gateway_site.edge.middleware.ContentPolicyMiddleware": STEP,  # fixed_headers
    "sessions_kms.middleware.StoreUnavailableMiddleware": STEP,  # ahead.keys_of, failure_response
    "gateway_site.pages.session_full.SessionFullMiddleware": STEP,  # failure_response
    "oauth.sign_out.SignOutMiddleware": PAGES,
    "gateway_site.edge.middleware.SignedOutMiddleware": PAGES,
    "django.contrib.sessions.middleware.SessionMiddleware": STEP,  # caller, session_cookies
    "gateway_site.edge.languages.LocaleMiddleware": PAGES,
    "django.middleware.common.CommonMiddleware": STEP,  # the Host; it has no other settings here
    "django.middleware.csrf.CsrfViewMiddleware": STEP,  # CsrfCheck
    "oauth.sign_in.authentication.AuthenticationMiddleware": STEP,  # ActiveUsers
    "gateway_site.edge.middleware.VisitMiddleware": STEP,  # the visit
    "django.contrib.messages.middleware.MessageMiddleware": PAGES,
    "gateway_site.pages.session_limit.SessionLimitMiddleware": PAGES,  # tells of a sign-in
    "django.middleware.clickjacking.XFrameOptionsMiddleware": STEP,  # fixed_headers
    "allauth.account.middleware.AccountMiddleware": PAGES,
}


def test_every_middleware_has_a_step_of_calls_or_is_for_pages_only(settings: Settings) -> None:
    """Somebody who adds one decides which: calls would silently lack what it does."""
    assert set(settings.MIDDLEWARE) == set(MIDDLEWARE)


def test_gateway_does_not_start_with_middleware_that_may_be_meant_for_calls(
    settings: Settings,
) -> None:
    """A middleware that denies every request would deny pages only."""
    assert list(check_middleware_of_calls()) == []
    foreign = f"{__name__}.Foreign"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, foreign]
    assert [each.id for each in check_middleware_of_calls()] == ["gateway_site.E006"]
    with pytest.raises(ImproperlyConfigured, match=r"test_middleware_check\.Foreign"):
        GatewayHandler()
    settings.MIDDLEWARE_OF_PAGES = [foreign]
    assert list(check_middleware_of_calls()) == []
    GatewayHandler()
