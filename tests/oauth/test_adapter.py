"""allauth's hooks that are about no request: which apps there are."""

import warnings
from typing import Any

import pytest
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries, Settings

from oauth.adapter import SocialAccountAdapter

CORP = {"provider_id": "corp", "name": "Corp", "client_id": "a", "secret": "s", "key": "k"}
PROVIDERS: dict[str, dict[str, Any]] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [CORP, {"provider_id": "other", "client_id": "b", "settings": {"hidden": True}}],
    },
    "github": {"APP": {"client_id": "a", "unknown": "left out"}},
    "apple": {"APPS": [{"client_id": "c", "certificate_key": "pem", "settings": {"a": 1}}]},
    "google": {"APPS": None, "APP": None},
    "gitlab": {"APPS": [], "APP": {"client_id": "not this one"}},
    "dropbox": {"SCOPE": ["x"]},
}


def describe_apps(apps: list[SocialApp]) -> list[dict[str, Any]]:
    return [{k: v for k, v in vars(app).items() if k != "_state"} for app in apps]


@pytest.mark.parametrize("client_id", [None, "", "a", "b", "nobody's"])
@pytest.mark.parametrize("provider", [None, "", "corp", "openid_connect", "github", "google", "x"])
@pytest.mark.django_db
def test_apps_are_read_from_the_settings_as_by_allauth_and_not_from_the_database(
    settings: Settings,
    django_assert_num_queries: DjangoAssertNumQueries,
    provider: str | None,
    client_id: str | None,
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = PROVIDERS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # allauth's about the old place of a certificate
        theirs = DefaultSocialAccountAdapter().list_apps(None, provider, client_id)
    SocialApp.objects.create(provider="github", name="planted", client_id="a")
    for request in (None, RequestFactory().get("/")):
        with django_assert_num_queries(0):
            ours = SocialAccountAdapter().list_apps(request, provider, client_id)
        assert describe_apps(ours) == describe_apps(theirs)
