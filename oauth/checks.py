"""System checks: no setting may let a token out of the encrypted session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from allauth.socialaccount import app_settings
from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.urls import Resolver404, resolve, reverse
from django.utils.module_loading import import_string

from oauth import views
from oauth.adapter import SocialAccountAdapter
from sessions_kms.backend import SessionStore


@register(Tags.security)
def tokens_stay_out_of_the_database(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse allauth's own token storage, which is plain text in SQL."""
    if not app_settings.STORE_TOKENS:
        return []
    return [
        Error(
            "SOCIALACCOUNT_STORE_TOKENS would keep tokens as plain text in the database.",
            hint="Remove the setting: the session holds the tokens.",
            id="oauth.E001",
        )
    ]


@register(Tags.security)
def sessions_are_encrypted(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse a session engine whose store is not sessions_kms's, or a subclass of it."""
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        store = object
    if issubclass(store, SessionStore):
        return []
    return [
        Error(
            "The session holds tokens, and SESSION_ENGINE does not encrypt it.",
            hint='Set SESSION_ENGINE = "sessions_kms.backend".',
            id="oauth.E002",
        )
    ]


@register(Tags.security)
def pkce_is_on(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a provider that would be asked without PKCE (RFC 9700 section 2.1.1)."""
    return [
        Error(
            f"PKCE is off for the provider {name}.",
            hint='Set "OAUTH_PKCE_ENABLED": True in SOCIALACCOUNT_PROVIDERS.',
            id="oauth.E003",
        )
        for name in _providers_without_pkce()
    ]


@register(Tags.urls)
def callback_is_ours(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse addresses under which allauth's own callback would drop the tokens."""
    names = {"openid_connect_callback": {"provider_id": "x"}, "github_callback": {}}
    for name, arguments in names.items():
        try:
            view = resolve(reverse(name, kwargs=arguments)).func
        except Resolver404:
            view = None
        if view is not views.callback:
            return [
                Error(
                    "The sign-in's callback is not the one that captures the tokens.",
                    hint='Include "oauth.urls" before "allauth.urls", under the same prefix.',
                    id="oauth.E004",
                )
            ]
    return []


@register(Tags.security)
def adapter_is_ours(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an allauth adapter that does not capture the tokens."""
    if issubclass(import_string(app_settings.ADAPTER), SocialAccountAdapter):
        return []
    return [
        Error(
            "SOCIALACCOUNT_ADAPTER does not capture the tokens.",
            hint='Set it to "oauth.adapter.SocialAccountAdapter", or a subclass of it.',
            id="oauth.E005",
        )
    ]


@register(Tags.security)
def session_keys_stay_out_of_the_database(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse allauth's usersessions, which keeps each session key as plain text in SQL."""
    if not apps.is_installed("allauth.usersessions"):
        return []
    return [
        Error(
            "allauth.usersessions would keep session keys as plain text in the database.",
            hint='Remove "allauth.usersessions" from INSTALLED_APPS.',
            id="oauth.E006",
        )
    ]


def _providers_without_pkce() -> Iterator[str]:
    for kind, configuration in app_settings.PROVIDERS.items():
        provider_class = registry.get_class(kind)
        if provider_class is None or not issubclass(provider_class, OAuth2Provider):
            continue
        default = configuration.get("OAUTH_PKCE_ENABLED", provider_class.pkce_enabled_default)
        for app in configuration.get("APPS") or [configuration.get("APP") or {}]:
            if not (app.get("settings") or {}).get("oauth_pkce_enabled", default):
                yield app.get("provider_id") or kind
