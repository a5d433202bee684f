"""What is known of an account at its sign-in: its claims, and what its provider is asked besides.

A `Provider`, what allauth read of the account and the token set enter; `Evidence` leaves. It is
done before the database is asked for anything, and only for what a rule needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oauth.access_rule import claims, issuers
from oauth.access_rule.claims import Claims
from oauth.access_rule.evidence import Evidence, Refusal
from oauth.admission import entra
from oauth.admission.asking import Asking
from oauth.admission.github import HEADERS, GitHub
from oauth.provider import metadata
from oauth.provider.config import Provider
from oauth.provider.token_set import TokenSet

GITHUB = "github"  # allauth's kind


def gathered(provider: Provider, extra_data: Mapping[str, Any], token_set: TokenSet) -> Evidence:
    """Return what decides of an account. Raises ProviderUnavailable."""
    __traceback_hide__ = True
    if provider.kind == GITHUB:
        return _of_github(provider, extra_data, token_set)
    told = claims.evidence(Claims.of_account(extra_data), provider.admission, provider.issuer)
    if told.no_group is Refusal.OVERAGE and provider.issuer and issuers.is_entra(provider.issuer):
        return _with_graph(provider, provider.issuer, told, token_set)
    return told


def _of_github(provider: Provider, extra_data: Mapping[str, Any], token_set: TokenSet) -> Evidence:
    __traceback_hide__ = True
    admission = provider.admission
    wants_addresses, groups = admission.rule.asks_address, admission.named_groups
    if not wants_addresses and not groups:
        return Evidence()
    profile = provider.fixed_endpoint("profile_url") or ""
    login = str(extra_data.get("login") or "")
    asking = Asking(token_set.access_token, metadata.reach_of(provider), HEADERS)
    person = GitHub(profile.removesuffix("/user"), login, asking)
    return person.evidence(wants_addresses=wants_addresses, groups=groups)


def _with_graph(provider: Provider, issuer: str, told: Evidence, token_set: TokenSet) -> Evidence:
    __traceback_hide__ = True
    graph = issuers.graph(issuer)
    if not provider.admission.named_groups or not entra.may_ask(token_set.scope, graph):
        return told
    asking = Asking(token_set.access_token, metadata.reach_of(provider), {})
    found = entra.groups(graph, provider.admission.named_groups, asking)
    return told if found is None else replace(told, groups=found, no_group=Refusal.GROUP)
