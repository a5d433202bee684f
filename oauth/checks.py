"""System checks: no setting may let a token out of the encrypted session."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from allauth.socialaccount import app_settings
from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Tags, register
from django.urls import Resolver404, resolve, reverse
from django.utils.module_loading import import_string

from oauth.adapter import SocialAccountAdapter
from oauth.exceptions import ProviderUnavailable
from oauth.network.vetted_addresses import LOOPBACK_NAMES
from oauth.provider import config
from oauth.provider.config import AUTH_METHODS, PRIVATE_KEY, ProviderConfig
from oauth.provider.token_endpoint import make_apple_secret, make_assertion
from oauth.sign_in import views
from oauth.sign_out import SignOutMiddleware
from sessions_kms.checks import (
    session_keys_are_in_sql,
    sessions_are_sealed,
)

LEEWAY_MAX = 3600  # seconds


@register(Tags.security)
def tokens_stay_out_of_the_database(**_: Any) -> Iterator[CheckMessage]:
    """Refuse allauth's own token storage, which is plain text in SQL."""
    # allauth's own reading, which may come from elsewhere (ALLAUTH_SETTING_GETTER).
    if app_settings.STORE_TOKENS:
        yield Error(
            "SOCIALACCOUNT_STORE_TOKENS would store tokens as plain text in the database.",
            hint="Remove the setting: the session holds the tokens.",
            id="oauth.E001",
        )


@register(Tags.security)
def sessions_are_encrypted(**_: Any) -> Iterator[CheckMessage]:
    """Refuse a session engine whose store is not sessions_kms's, or a subclass of it."""
    if not sessions_are_sealed():
        yield Error(
            "The session contains tokens, but SESSION_ENGINE does not encrypt it.",
            hint='Set SESSION_ENGINE = "sessions_kms.backend".',
            id="oauth.E002",
        )


@register(Tags.security)
def pkce_is_on(**_: Any) -> Iterator[CheckMessage]:
    """Refuse a provider that would be asked without PKCE (RFC 9700 section 2.1.1)."""
    for name in _providers_without_pkce():
        yield Error(
            f"PKCE is off for the provider {name}.",
            hint='Set "OAUTH_PKCE_ENABLED": True in SOCIALACCOUNT_PROVIDERS.',
            id="oauth.E003",
        )


@register(Tags.urls)
def callback_is_ours(**_: Any) -> Iterator[CheckMessage]:
    """Refuse addresses under which allauth's own callback would drop the tokens."""
    names = {"openid_connect_callback": {"provider_id": "x"}, "github_callback": {}}
    for name, arguments in names.items():
        try:
            view = resolve(reverse(name, kwargs=arguments)).func
        except Resolver404:
            view = None
        if view is not views.callback:
            yield Error(
                "The sign-in's callback is not the one that captures the tokens.",
                hint='Include "oauth.urls" before "allauth.urls", under the same prefix.',
                id="oauth.E004",
            )
            return


@register(Tags.security)
def adapter_is_ours(**_: Any) -> Iterator[CheckMessage]:
    """Refuse an allauth adapter that does not capture the tokens."""
    if not issubclass(import_string(app_settings.ADAPTER), SocialAccountAdapter):
        yield Error(
            "SOCIALACCOUNT_ADAPTER does not capture the tokens.",
            hint='Set it to "oauth.adapter.SocialAccountAdapter", or a subclass of it.',
            id="oauth.E005",
        )


@register(Tags.security)
def session_keys_stay_out_of_the_database(**_: Any) -> Iterator[CheckMessage]:
    """Refuse allauth's usersessions, which keeps each session key as plain text in SQL."""
    if session_keys_are_in_sql():
        yield Error(
            "allauth.usersessions would store session keys as plain text in the database.",
            hint='Remove "allauth.usersessions" from INSTALLED_APPS.',
            id="oauth.E006",
        )


@register(Tags.security)
def sign_out_revokes(**_: Any) -> Iterator[CheckMessage]:
    """Refuse a sign-out that would leave the grants at the providers alive."""
    places = {SignOutMiddleware: -1, SessionMiddleware: -1}
    for place, path in enumerate(settings.MIDDLEWARE):
        found = import_string(path)
        for kind in places:
            if isinstance(found, type) and issubclass(found, kind):
                places[kind] = place
    if not 0 <= places[SignOutMiddleware] < places[SessionMiddleware]:
        yield Error(
            "Tokens are not revoked when somebody signs out.",
            hint='Add "oauth.sign_out.SignOutMiddleware" to MIDDLEWARE, before the sessions\'.',
            id="oauth.E011",
        )


@register(Tags.security)
def token_endpoints_can_be_used(**_: Any) -> Iterator[CheckMessage]:
    """Refuse settings with which every refresh of a provider's tokens would fail."""
    for provider in config.all_providers():
        yield from _faults(provider)


def _faults(provider: ProviderConfig) -> Iterator[Error]:
    if provider.auth_method not in (None, *AUTH_METHODS):
        yield Error(
            f"{provider.name} has an unknown authentication method for its token endpoint.",
            hint=f'Set "token_auth_method" to one of {", ".join(AUTH_METHODS)}, or remove it.',
            id="oauth.E007",
        )
    if not _can_sign(provider):
        kinds = "an EC (P-256)" if provider.apple_team_id else "an RSA, EC or Ed25519"
        yield Error(
            f"The private key of {provider.name} cannot be used.",
            hint=f'Let OAUTH_{provider.name.upper()}_PRIVATE_KEY_FILE ("private_key_file") name a '
            f"readable PEM file with {kinds} key, without a password.",
            id="oauth.E008",
        )
    if provider.revocation_url is not None and not _is_safe(provider.revocation_url):
        yield Error(
            f"Tokens of {provider.name} would be revoked at an insecure URL.",
            hint='Set "revocation_url" to an https:// URL.',
            id="oauth.E009",
        )
    leeway: object = provider.refresh_leeway
    if type(leeway) is not int or not 0 <= leeway <= LEEWAY_MAX:
        yield Error(
            f"The refresh leeway of {provider.name} is invalid.",
            hint=f'Set "refresh_leeway" to whole seconds, at most {LEEWAY_MAX}.',
            id="oauth.E010",
        )


def _can_sign(provider: ProviderConfig) -> bool:
    """Return True if the provider's key can sign, if it has to."""
    if provider.auth_method != PRIVATE_KEY and provider.apple_team_id is None:
        return True
    if not Path(provider.private_key_file or "").is_file():
        return False
    try:
        made = (
            make_apple_secret(provider, now=0)  # Nobody is shown it.
            if provider.apple_team_id
            else make_assertion(provider, None, "check", now=0)
        )
        return bool(made)
    except ProviderUnavailable:
        return False


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_NAMES)


def _providers_without_pkce() -> Iterator[str]:
    for kind, configuration in app_settings.PROVIDERS.items():
        provider_class = registry.get_class(kind)
        if provider_class is None or not issubclass(provider_class, OAuth2Provider):
            continue
        default = configuration.get("OAUTH_PKCE_ENABLED", provider_class.pkce_enabled_default)
        for app in configuration.get("APPS") or [configuration.get("APP") or {}]:
            if not (app.get("settings") or {}).get("oauth_pkce_enabled", default):
                yield app.get("provider_id") or kind
