"""A decision in words, for an operator: a provider and the claims of an account enter.

Nobody is asked anything. What GitHub was asked at a sign-in is not kept; it may be given as the
members `emails` (as its `/user/emails` answers) and `groups` (`acme`, `acme/operators`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oauth.access_rule import claims
from oauth.access_rule.claims import Claims
from oauth.access_rule.decision import refusal
from oauth.access_rule.evidence import Evidence, Refusal
from oauth.access_rule.rule import EVERYBODY, Rule, github_group
from oauth.admission.gathering import GITHUB
from oauth.admission.github import verified_of
from oauth.provider.config import Provider

ASKED = "GitHub is asked for addresses and memberships at each sign-in, and no answer is kept."
GRAPH = "At a sign-in Microsoft Graph would be asked for them, if the token is one for Graph."


@dataclass(frozen=True)
class Explanation:
    """``allowed`` is None where what was given does not decide it; ``code`` is the refusal's."""

    provider: str
    allowed: bool | None
    code: str | None
    steps: tuple[str, ...]


def explain(provider: Provider, data: Mapping[str, Any]) -> Explanation:
    """Explain what would become of a sign-in with these claims."""
    rule = provider.admission.rule
    told = _github(data) if provider.kind == GITHUB else _openid(provider, data)
    steps = [*_of_rule(rule), *_of_evidence(provider, told, data)]
    missing = provider.kind == GITHUB and _is_missing(provider, data)
    if missing:
        return Explanation(provider.name, None, None, (*steps, ASKED))
    reason = refusal(rule, told)
    if reason is Refusal.OVERAGE:
        steps.append(GRAPH)
    return Explanation(provider.name, reason is None, reason and reason.value, tuple(steps))


def _openid(provider: Provider, data: Mapping[str, Any]) -> Evidence:
    return claims.evidence(Claims.of_account(data), provider.admission, provider.issuer)


def _github(data: Mapping[str, Any]) -> Evidence:
    return Evidence(
        addresses=frozenset(verified_of(_list(data, "emails"))),
        groups=frozenset(_github_groups(_list(data, "groups"))),
        no_address=Refusal.NOT_VERIFIED,
        no_group=Refusal.GROUP,
    )


def _github_groups(named: Iterable[object]) -> Iterator[str]:
    for each in named:
        try:
            yield github_group(str(each))
        except ValueError:
            continue


def _is_missing(provider: Provider, data: Mapping[str, Any]) -> bool:
    asks_address = provider.admission.rule.asks_address and "emails" not in data
    return asks_address or (provider.admission.rule.groups is not None and "groups" not in data)


def _of_rule(rule: Rule) -> Iterator[str]:
    if not rule.is_set:
        yield "No list is set: everybody with an account at this provider may sign in."
    for name in ("domains", "emails", "groups"):
        listed = getattr(rule, name)
        if listed is not None:
            everybody = ", everybody" if EVERYBODY in listed else ""
            yield f"Allowed {name}: {_joined(listed)}{everybody}."
    if rule.hosted_domain is not None:
        yield f"Hosted domain: {rule.hosted_domain}."


def _of_evidence(provider: Provider, told: Evidence, data: Mapping[str, Any]) -> Iterator[str]:
    if told.addresses:
        yield f"Addresses that count: {_joined(told.addresses)}."
    else:
        yield f"No address counts ({told.no_address.value})."
    if provider.admission.rule.hosted_domain is not None:
        yield f"Hosted domain that the provider told: {told.hosted_domain or 'none'}."
    named = provider.admission.named_groups
    if not named:
        return
    here = told.groups & named
    count = len(told.groups)
    yield f"Groups that anything here asks for: {_joined(here) or 'none'}, of {count} told."
    if not told.groups:
        yield f"About groups: {told.no_group.value}."


def _joined(words: Iterable[str]) -> str:
    return ", ".join(word if word.isprintable() else ascii(word) for word in sorted(words))


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    return found if isinstance(found, list) else []
