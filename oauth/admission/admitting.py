"""The decision at a sign-in and at a refresh: a token set enters, and leaves with its groups.

Whoever may not is refused with an error; the grant that was just made is revoked, since nobody
will hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oauth.access_rule import claims
from oauth.access_rule.claims import Claims
from oauth.access_rule.decision import of_address, of_groups, refusal
from oauth.access_rule.evidence import Evidence, Refusal
from oauth.access_rule.rule import Admission
from oauth.admission.gathering import gathered
from oauth.exceptions import SignInRefused
from oauth.provider import id_token as id_tokens
from oauth.provider.config import Provider
from oauth.provider.id_token import Unreadable
from oauth.provider.revocation import revoke_soon
from oauth.provider.token_set import TokenSet
from sessions_kms.services import Services


def admitted(
    services: Services, provider: Provider, extra_data: Mapping[str, Any], token_set: TokenSet
) -> TokenSet:
    """Return the token set of a sign-in, with the groups. Raises SignInRefused, and
    ProviderUnavailable where the provider cannot be asked for what decides.
    """
    __traceback_hide__ = True
    told = gathered(provider, extra_data, token_set)
    reason = refusal(provider.admission.rule, told)
    if reason is not None:
        revoke_soon(services, provider.name, token_set)
        raise SignInRefused(reason, token_set.subject)
    return replace(token_set, groups=_kept(told.groups, provider.admission))


def at_refresh(services: Services, provider: Provider, old: TokenSet, new: TokenSet) -> TokenSet:
    """Return the refreshed token set with its groups. Raises SignInRefused.

    Only what the new id token tells counts: many hold less than that of the sign-in did, and
    silence changes nothing.
    """
    __traceback_hide__ = True
    if new.id_token is None or new.id_token == old.id_token:
        return new
    now = _claims(new.id_token)
    told = claims.evidence(Claims(id_token=now, userinfo={}), provider.admission, provider.issuer)
    has_groups = claims.groups_of(now, provider.admission.groups_claim) is not None
    groups = _kept(told.groups, provider.admission) if has_groups else new.groups
    reason = _told_against(provider, told, has_groups, before=_claims(old.id_token), now=now)
    if reason is not None:
        revoke_soon(services, provider.name, new)
        raise SignInRefused(reason, new.subject)
    return replace(new, groups=groups)


def _told_against(
    provider: Provider,
    told: Evidence,
    has_groups: bool,
    *,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
) -> Refusal | None:
    """Return what an id token says against somebody."""
    rule = provider.admission.rule
    if rule.hosted_domain is not None and told.hosted_domain not in (None, rule.hosted_domain):
        return Refusal.HOSTED_DOMAIN
    # Userinfo may have stood for an address that no id token of this provider stands for.
    stood = claims.counting_address(before, provider.admission, provider.issuer) is not None
    has_address = bool(told.addresses) or (stood and bool(now.get("email")))
    if has_address and (reason := of_address(rule, told)):
        return reason
    return of_groups(rule, told) if has_groups else None


def _claims(id_token: str | None) -> Mapping[str, Any]:
    __traceback_hide__ = True
    try:
        return id_tokens.claims_of(id_token)
    except Unreadable:
        return {}


def _kept(groups: frozenset[str], admission: Admission) -> tuple[str, ...]:
    """Return the groups that anything here asks for: a session has room for no others."""
    return tuple(sorted(groups & admission.named_groups))
