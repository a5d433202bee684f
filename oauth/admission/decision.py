"""Decides at a sign-in and at a refresh whether an account may be used here.

First `gather_evidence` collects what the rule needs: the claims and, if those are not enough, data
from the provider's API. This happens before the database is read. A rejected account raises an
error; the caller revokes its new grant, since nobody will use it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from oauth import access_rule
from oauth.access_rule import (
    EMAIL,
    NAME,
    Admission,
    Evidence,
    Refusal,
    choose_address,
    find_refusal,
    refuse_by_address,
    refuse_by_groups,
)
from oauth.admission import claims, provider_api
from oauth.admission.claims import Claims
from oauth.admission.provider_api import GITHUB_HEADERS, GitHub, ProviderAPI
from oauth.exceptions import SignInRefused
from oauth.provider import id_token as id_tokens
from oauth.provider import metadata
from oauth.provider.config import ProviderConfig
from oauth.provider.token_set import TokenSet

GITHUB = "github"  # allauth's provider class id


@dataclass(frozen=True)
class StoredClaims:
    """What is stored with a session of an admitted account, as far as the settings name it."""

    groups: tuple[str, ...]
    email: str | None
    name: str | None


def gather_evidence(
    provider: ProviderConfig, extra_data: Mapping[str, Any], token_set: TokenSet
) -> Evidence:
    """Return the evidence that decides about an account. Raises ProviderUnavailable."""
    __traceback_hide__ = True
    if provider.kind == GITHUB:
        return _read_github_evidence(provider, extra_data, token_set)
    evidence = claims.read_evidence(
        Claims.of_account(extra_data), provider.admission, provider.issuer
    )
    if (
        evidence.no_group is Refusal.OVERAGE
        and provider.issuer
        and access_rule.is_entra(provider.issuer)
    ):
        return _add_graph_groups(provider, provider.issuer, evidence, token_set)
    return evidence


def _read_github_evidence(
    provider: ProviderConfig, extra_data: Mapping[str, Any], token_set: TokenSet
) -> Evidence:
    __traceback_hide__ = True
    admission = provider.admission
    needs_addresses, groups = admission.needs_addresses, admission.named_groups
    if not needs_addresses and not groups:
        return Evidence()
    profile = provider.fixed_endpoint("profile_url") or ""
    login = str(extra_data.get("login") or "")
    api = ProviderAPI(token_set.access_token, metadata.reach_of(provider), GITHUB_HEADERS)
    person = GitHub(profile.removesuffix("/user"), login, api)
    return person.read_evidence(needs_addresses=needs_addresses, groups=groups)


def _add_graph_groups(
    provider: ProviderConfig, issuer: str, evidence: Evidence, token_set: TokenSet
) -> Evidence:
    __traceback_hide__ = True
    graph = access_rule.graph_url(issuer)
    if not provider.admission.named_groups or not provider_api.may_use_graph(
        token_set.scope, graph
    ):
        return evidence
    api = ProviderAPI(token_set.access_token, metadata.reach_of(provider), {})
    found = provider_api.find_graph_groups(graph, provider.admission.named_groups, api)
    return evidence if found is None else replace(evidence, groups=found, no_group=Refusal.GROUP)


def admit_sign_in(
    provider: ProviderConfig, extra_data: Mapping[str, Any], token_set: TokenSet
) -> TokenSet:
    """Return the token set of a sign-in, with the groups and claims that are stored with it.

    Raises SignInRefused, and ProviderUnavailable if the evidence cannot be fetched.
    """
    __traceback_hide__ = True
    evidence = gather_evidence(provider, extra_data, token_set)
    stored = _admit(provider, extra_data, evidence, token_set.subject)
    return replace(token_set, groups=stored.groups, email=stored.email, name=stored.name)


def admit_assertion(
    provider: ProviderConfig, extra_data: Mapping[str, Any], subject: str
) -> StoredClaims:
    """Return what is stored of an assertion's claims, which alone decide: nothing is fetched.

    Raises SignInRefused.
    """
    evidence = claims.read_evidence(
        Claims.of_account(extra_data), provider.admission, provider.issuer
    )
    return _admit(provider, extra_data, evidence, subject)


def _admit(
    provider: ProviderConfig, extra_data: Mapping[str, Any], evidence: Evidence, subject: str
) -> StoredClaims:
    admission = provider.admission
    reason = find_refusal(admission.rule, evidence)
    if reason is not None:
        raise SignInRefused(reason, subject)
    email, name = choose_address(admission.rule, evidence), claims.read_name(extra_data)
    return StoredClaims(
        groups=_named_groups(evidence.groups, admission),
        email=email if EMAIL in admission.stored_claims else None,
        name=name if NAME in admission.stored_claims else None,
    )


def admit_refresh(provider: ProviderConfig, old: TokenSet, new: TokenSet) -> TokenSet:
    """Return the refreshed token set with its groups. Raises SignInRefused.

    Only claims that the new id token contains count: many contain fewer than at the sign-in, and a
    missing claim changes nothing.
    """
    __traceback_hide__ = True
    if new.id_token is None or new.id_token == old.id_token:
        return new
    now = id_tokens.decode_stored_claims(new.id_token)
    evidence = claims.read_evidence(
        Claims(id_token=now, userinfo={}), provider.admission, provider.issuer
    )
    has_groups = claims.read_groups(now, provider.admission.groups_claim) is not None
    groups = _named_groups(evidence.groups, provider.admission) if has_groups else new.groups
    reason = _refusal_at_refresh(
        provider, evidence, has_groups, before=id_tokens.decode_stored_claims(old.id_token), now=now
    )
    if reason is not None:
        raise SignInRefused(reason, new.subject)
    return replace(new, groups=groups)


def _refusal_at_refresh(
    provider: ProviderConfig,
    evidence: Evidence,
    has_groups: bool,
    *,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
) -> Refusal | None:
    """Return the reason to reject a refreshed id token, or None."""
    rule = provider.admission.rule
    if rule.hosted_domain is not None and evidence.hosted_domain not in (None, rule.hosted_domain):
        return Refusal.HOSTED_DOMAIN
    # At some providers only userinfo marks an address as verified, never the id token.
    was_trusted = claims.trusted_address(before, provider.admission, provider.issuer) is not None
    has_address = bool(evidence.addresses) or (was_trusted and bool(now.get("email")))
    if has_address and (reason := refuse_by_address(rule, evidence)):
        return reason
    return refuse_by_groups(rule, evidence) if has_groups else None


def _named_groups(groups: frozenset[str], admission: Admission) -> tuple[str, ...]:
    """Return the groups that a rule names: a session has no space for others."""
    return tuple(sorted(groups & admission.named_groups))
