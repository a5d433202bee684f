"""From the environment to allauth's settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment import admission
from gateway_site.providers import endpoints, network, protection, sign_out, tokens
from gateway_site.providers.kinds import kind_of
from gateway_site.providers.provider import OPENID, Provider
from gateway_site.providers.variables import ProviderVariables

# Each reads the variables of one subject into what `oauth.provider.config` calls them.
SUBJECTS = (endpoints, protection, tokens, network, sign_out)
NAME_LENGTH = 40  # of allauth's column for the provider


def configured(environment: Mapping[str, str]) -> list[Provider]:
    """Return the providers of the environment, by name.

    Raises ImproperlyConfigured, naming the variable, when one is missing, unusable or unknown.
    """
    names = ProviderVariables.list_names(environment)
    providers = [
        _admitting(environment, _provider(ProviderVariables(environment, name))) for name in names
    ]
    # allauth finds the provider of an unfinished sign-up again by its client id.
    clients = [provider.client_id for provider in providers if provider.allauth_kind == OPENID]
    if len(set(clients)) < len(clients):
        raise ImproperlyConfigured(
            "Two providers have the same OAUTH_<NAME>_CLIENT_ID: register one of them anew."
        )
    return providers


def social_providers(providers: Iterable[Provider]) -> dict[str, Any]:
    """Return allauth's `SOCIALACCOUNT_PROVIDERS`."""
    kinds: dict[str, Any] = {
        name: {"OAUTH_PKCE_ENABLED": True, "APPS": []} for name in (OPENID, "github")
    }
    for provider in providers:
        kinds[provider.allauth_kind]["APPS"].append(provider.allauth_app())
    return kinds


def form_action_origins(providers: Iterable[Provider]) -> list[str]:
    """Return the origins that the Content-Security-Policy must let forms lead to.

    Browsers apply form-action to the redirect that answers the sign-in form
    (https://www.w3.org/TR/CSP3/#directive-form-action), so the origin of each
    provider's authorization endpoint belongs in it.
    """
    return sorted({origin for provider in providers for origin in provider.form_action})


def _provider(variables: ProviderVariables) -> Provider:
    if variables.name == OPENID or len(variables.name) > NAME_LENGTH:
        raise ImproperlyConfigured(
            f"{variables.get_name(ProviderVariables.client_id)}: choose another provider name, "
            "such as OAUTH_CORP_…"
        )
    found = kind_of(variables)
    issuer = found.issuer()  # first: what is wrong with it is wrong with the rest
    settings = found.client()
    for subject in SUBJECTS:
        settings |= subject.read(variables)
    if prompt := found.client_prompt():
        settings["client_prompt"] = prompt
    return Provider(
        name=variables.name,
        label=variables.label or found.label or variables.name.replace("_", " ").title(),
        client_id=variables.client_id,
        client_secret=variables.client_secret,
        issuer=issuer,
        scopes=found.scopes(),
        auth_params=found.auth_params(),
        form_action=found.form_action(),
        allauth_kind=found.allauth_kind,
        settings=settings | found.settings(),
    )


def _admitting(environment: Mapping[str, str], provider: Provider) -> Provider:
    """Return a provider that knows who may sign in, and is asked for what tells it."""
    found = admission.read_rule(environment, provider)
    if not found.settings:
        return provider
    return replace(
        provider,
        scopes=tuple(dict.fromkeys([*provider.scopes, *found.scopes])),
        auth_params={**provider.auth_params, **found.auth_params},
        settings={**provider.settings, "admission": dict(found.settings)},
    )
