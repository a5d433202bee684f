"""Reads the configured providers from the environment, and builds allauth's settings."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment import admission
from gateway_site.providers.known_providers import provider_type_of
from gateway_site.providers.provider_types import OPENID_CONNECT, ProviderConfig
from gateway_site.providers.subject_settings import (
    read_endpoints,
    read_logout,
    read_network,
    read_protection,
    read_tokens,
)
from gateway_site.providers.variables import ProviderVariables
from oauth.access_rule import is_shared_entra

# Each reads the variables of one subject into settings with the names of `oauth.provider.config`.
READERS = (read_endpoints, read_protection, read_tokens, read_network, read_logout)
NAME_LENGTH = 40  # of allauth's column for the provider


def read_providers(
    environment: Mapping[str, str],
    resources: Mapping[str, str] | None = None,
    policy_groups: admission.PolicyGroups | None = None,
    stored_claims: Mapping[str, frozenset[str]] | None = None,
) -> list[ProviderConfig]:
    """Return the providers of the environment, by name.

    ``resources`` are what their tokens are requested for (RFC 8707), by the providers' names;
    ``policy_groups`` the groups in policy files, by upstream, and ``stored_claims`` the claims, by
    provider, both of which sign-ins have to store.
    Raises ImproperlyConfigured with the name of a variable that is missing, invalid or unknown.
    """
    names = ProviderVariables.list_names(environment)
    providers = [
        _with_resource(
            _with_admission(
                environment,
                _provider(ProviderVariables(environment, name)),
                policy_groups,
                (stored_claims or {}).get(name.lower(), frozenset()),
            ),
            resources or {},
        )
        for name in names
    ]
    _require_distinct_issuers(providers)
    # allauth finds the provider of an unfinished sign-up again by its client id.
    clients = [
        provider.client_id for provider in providers if provider.allauth_kind == OPENID_CONNECT
    ]
    if len(set(clients)) < len(clients):
        raise ImproperlyConfigured(
            "Two providers have the same OAUTH_<NAME>_CLIENT_ID: register one of them again."
        )
    return providers


def social_providers(providers: Iterable[ProviderConfig]) -> dict[str, Any]:
    """Return allauth's `SOCIALACCOUNT_PROVIDERS`."""
    kinds: dict[str, Any] = {
        name: {"OAUTH_PKCE_ENABLED": True, "APPS": []} for name in (OPENID_CONNECT, "github")
    }
    for provider in providers:
        kinds[provider.allauth_kind]["APPS"].append(provider.allauth_app())
    return kinds


def form_action_origins(providers: Iterable[ProviderConfig]) -> list[str]:
    """Return the origins that the Content-Security-Policy must allow forms to lead to.

    Browsers apply form-action also to the redirect after a form
    (https://www.w3.org/TR/CSP3/#directive-form-action), so it must contain the origin of each
    provider's authorization endpoint.
    """
    return sorted({origin for provider in providers for origin in provider.form_action})


def _provider(variables: ProviderVariables) -> ProviderConfig:
    if variables.name == OPENID_CONNECT or len(variables.name) > NAME_LENGTH:
        raise ImproperlyConfigured(
            f"{variables.get_name(ProviderVariables.client_id)}: choose another provider name, "
            "such as OAUTH_CORP_…"
        )
    found = provider_type_of(variables)
    issuer = found.issuer()  # first: the other errors may follow from a wrong issuer
    settings = found.client()
    if variables.id_jag_clients:
        settings["id_jag_clients"] = _require_issuer(variables, issuer)
    for read in READERS:
        settings |= read(variables)
    if prompt := found.client_prompt():
        settings["client_prompt"] = prompt
    return ProviderConfig(
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


def _require_issuer(variables: ProviderVariables, issuer: str | None) -> bool:
    """Return True for a provider whose assertions can be verified. Raises ImproperlyConfigured."""
    if issuer is None or is_shared_entra(issuer):
        raise variables.error(
            ProviderVariables.id_jag_clients, "needs an OpenID Connect provider with one issuer."
        )
    return True


def require_open_upstreams(
    providers: Iterable[ProviderConfig], open_to_assertions: Collection[str]
) -> None:
    """Raise ImproperlyConfigured for a provider that accepts assertions for no upstream.

    ``open_to_assertions`` are the providers of the upstreams that could accept them.
    """
    for each in providers:
        if each.settings.get("id_jag_clients") and each.name not in open_to_assertions:
            raise ImproperlyConfigured(
                f"OAUTH_{each.name.upper()}_ID_JAG_CLIENTS has no effect. Set "
                "UPSTREAM_<NAME>_CLIENTS=1 and UPSTREAM_<NAME>_TOKEN=identity for an upstream "
                f"with UPSTREAM_<NAME>_PROVIDER={each.name}."
            )


def _require_distinct_issuers(providers: Iterable[ProviderConfig]) -> None:
    """Reject two providers that accept assertions of one issuer: an account is of one provider."""
    names: dict[str | None, str] = {}
    for each in providers:
        if (
            each.settings.get("id_jag_clients")
            and names.setdefault(each.issuer, each.name) != each.name
        ):
            raise ImproperlyConfigured(
                f"OAUTH_{each.name.upper()}_ID_JAG_CLIENTS: OAUTH_{names[each.issuer].upper()}_… "
                "accepts assertions of the same issuer. Remove one of them."
            )


def _with_admission(
    environment: Mapping[str, str],
    provider: ProviderConfig,
    policy_groups: admission.PolicyGroups | None,
    claims: frozenset[str],
) -> ProviderConfig:
    """Return a provider with its access rule, and with the scopes that the rule needs."""
    found = admission.read_rule(environment, provider, policy_groups, claims)
    if not found.settings:
        return provider
    return replace(
        provider,
        scopes=tuple(dict.fromkeys([*provider.scopes, *found.scopes])),
        auth_params={**provider.auth_params, **found.auth_params},
        settings={**provider.settings, "admission": dict(found.settings)},
    )


def _with_resource(provider: ProviderConfig, resources: Mapping[str, str]) -> ProviderConfig:
    """Return a provider with its resource, which AUTH_PARAMS must not contradict."""
    resource = resources.get(provider.name)
    if resource is None:
        return provider
    if provider.auth_params.get("resource", resource) != resource:
        raise ImproperlyConfigured(
            f"OAUTH_{provider.name.upper()}_AUTH_PARAMS has another resource than "
            "UPSTREAM_<NAME>_RESOURCE: remove it there."
        )
    return replace(provider, settings={**provider.settings, "resource": resource})
