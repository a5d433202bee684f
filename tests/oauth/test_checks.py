"""Each check finds its fault, and nothing in the project's own settings."""

import sys
from types import ModuleType
from typing import Any

import pytest
from allauth.urls import urlpatterns as allauth_patterns
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import Error, Tags, run_checks
from django.urls import include, path
from pytest_django import Settings

from gateway_site.providers import configuration as providers_configuration
from oauth import checks
from sessions_kms.backend import SessionStore

CORP = {
    "OAUTH_CORP_CLIENT_ID": "c",
    "OAUTH_CORP_CLIENT_SECRET": "s",
    "OAUTH_CORP_ISSUER": "https://login.example.com",
}


def check_ids() -> list[str | None]:
    messages = run_checks(tags=[Tags.security, Tags.urls])
    messages = [message for message in messages if (message.id or "").startswith("oauth.")]
    assert all(isinstance(message, Error) and message.hint for message in messages)
    return [message.id for message in messages]


def test_own_settings_have_no_fault(settings: Settings) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = providers_configuration.social_providers(
        providers_configuration.read_providers(CORP)
    )
    assert check_ids() == []


def test_stored_tokens_are_refused(settings: Settings) -> None:
    settings.SOCIALACCOUNT_STORE_TOKENS = True
    assert check_ids() == ["oauth.E001"]


def store_elsewhere(name: str, default: object) -> object:
    return name == "SOCIALACCOUNT_STORE_TOKENS" or getattr(django_settings, name, default)


def test_stored_tokens_are_refused_wherever_allauth_has_the_setting_from(
    settings: Settings,
) -> None:
    settings.ALLAUTH_SETTING_GETTER = f"{__name__}.{store_elsewhere.__name__}"
    assert check_ids() == ["oauth.E001"]


@pytest.mark.parametrize(
    "engine",
    [
        "django.contrib.sessions.backends.db",
        "django.contrib.sessions.backends.signed_cookies",
        "no.such.engine",
        "sessions_kms.conf",
    ],
)
def test_other_session_engine_is_refused(settings: Settings, engine: str) -> None:
    settings.SESSION_ENGINE = engine
    assert check_ids() == ["oauth.E002"]


def test_engine_that_extends_ours_is_accepted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = ModuleType("an_engine")
    engine.SessionStore = type("SessionStore", (SessionStore,), {})
    monkeypatch.setitem(sys.modules, "an_engine", engine)
    settings.SESSION_ENGINE = "an_engine"
    assert check_ids() == []


@pytest.mark.parametrize("level", ["app", "provider", "nowhere"])
def test_provider_without_pkce_is_refused(settings: Settings, level: str) -> None:
    configuration = providers_configuration.social_providers(
        providers_configuration.read_providers(CORP)
    )
    openid = configuration["openid_connect"]
    app = openid["APPS"][0]["settings"]
    if level == "app":
        app["oauth_pkce_enabled"] = False
    else:
        del app["oauth_pkce_enabled"]
        openid["OAUTH_PKCE_ENABLED"] = False
    if level == "nowhere":
        del openid["OAUTH_PKCE_ENABLED"]
    settings.SOCIALACCOUNT_PROVIDERS = configuration
    (message,) = checks.pkce_is_on()
    assert (message.id, "corp" in message.msg) == ("oauth.E003", True)


def test_callback_of_allauth_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: Any = ModuleType("urls_without_ours")
    urls.urlpatterns = [path("accounts/", include(allauth_patterns))]
    monkeypatch.setitem(sys.modules, "urls_without_ours", urls)
    settings.ROOT_URLCONF = "urls_without_ours"
    assert [message.id for message in checks.callback_is_ours()] == ["oauth.E004"]


def test_other_adapter_is_refused(settings: Settings) -> None:
    settings.SOCIALACCOUNT_ADAPTER = "allauth.socialaccount.adapter.DefaultSocialAccountAdapter"
    assert check_ids() == ["oauth.E005"]


def test_user_sessions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", "allauth.usersessions".__eq__)
    assert check_ids() == ["oauth.E006"]


def test_sign_out_that_revokes_nothing_is_refused(settings: Settings) -> None:
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if not name.endswith(".SignOutMiddleware")
    ]
    assert check_ids() == ["oauth.E011"]


def test_sign_out_that_revokes_before_the_session_is_saved_is_refused(settings: Settings) -> None:
    ours = "oauth.sign_out.SignOutMiddleware"
    settings.MIDDLEWARE = [*(name for name in settings.MIDDLEWARE if name != ours), ours]
    assert check_ids() == ["oauth.E011"]
