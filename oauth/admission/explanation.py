"""Explains to an operator whether an account would be admitted, from its claims.

Nothing is requested from the provider. Responses of GitHub's API are not stored; pass them in as
the members `emails` (in the format of `/user/emails`) and `groups` (`acme`, `acme/operators`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oauth.access_rule import EVERYBODY, Evidence, Refusal, Rule, find_refusal, parse_github_group
from oauth.admission import claims
from oauth.admission.claims import Claims
from oauth.admission.decision import GITHUB
from oauth.admission.provider_api import verified_addresses
from oauth.provider.config import ProviderConfig

GITHUB_NOT_STORED = (
    "Addresses and memberships are read from GitHub at each sign-in and are not stored."
)
GRAPH_LOOKUP = "At a sign-in they would be read from Microsoft Graph, if the token is valid for it."


@dataclass(frozen=True)
class Explanation:
    """``allowed`` is None if the given claims do not decide it; ``code`` is the refusal's code."""

    provider: str
    allowed: bool | None
    code: str | None
    steps: tuple[str, ...]


def explain(provider: ProviderConfig, data: Mapping[str, Any]) -> Explanation:
    """Explain whether a sign-in with these claims would be admitted."""
    rule = provider.admission.rule
    if provider.kind == GITHUB:
        evidence = _github_evidence(data)
    else:
        evidence = claims.read_evidence(
            Claims.of_account(data), provider.admission, provider.issuer
        )
    steps = [*_describe_rule(rule), *_describe_evidence(provider, evidence, data)]
    missing = provider.kind == GITHUB and _is_missing(provider, data)
    if missing:
        return Explanation(provider.name, None, None, (*steps, GITHUB_NOT_STORED))
    reason = find_refusal(rule, evidence)
    if reason is Refusal.OVERAGE:
        steps.append(GRAPH_LOOKUP)
    return Explanation(provider.name, reason is None, reason and reason.value, tuple(steps))


def _github_evidence(data: Mapping[str, Any]) -> Evidence:
    return Evidence(
        addresses=frozenset(verified_addresses(_read_list(data, "emails"))),
        groups=frozenset(_github_groups(_read_list(data, "groups"))),
        no_address=Refusal.NOT_VERIFIED,
        no_group=Refusal.GROUP,
    )


def _github_groups(named: Iterable[object]) -> Iterator[str]:
    for each in named:
        try:
            yield parse_github_group(str(each))
        except ValueError:
            continue


def _is_missing(provider: ProviderConfig, data: Mapping[str, Any]) -> bool:
    requires_address = provider.admission.rule.requires_address and "emails" not in data
    return requires_address or (provider.admission.rule.groups is not None and "groups" not in data)


def _describe_rule(rule: Rule) -> Iterator[str]:
    if not rule.is_set:
        yield "No list is set: everybody with an account at this provider may sign in."
    for name in ("domains", "emails", "groups"):
        listed = getattr(rule, name)
        if listed is not None:
            everybody = ", everybody" if EVERYBODY in listed else ""
            yield f"Allowed {name}: {_join(listed)}{everybody}."
    if rule.hosted_domain is not None:
        yield f"Hosted domain: {rule.hosted_domain}."


def _describe_evidence(
    provider: ProviderConfig, evidence: Evidence, data: Mapping[str, Any]
) -> Iterator[str]:
    if evidence.addresses:
        yield f"Accepted addresses: {_join(evidence.addresses)}."
    else:
        yield f"No accepted address ({evidence.no_address.value})."
    if provider.admission.rule.hosted_domain is not None:
        yield f"Hosted domain from the provider: {evidence.hosted_domain or 'none'}."
    named = provider.admission.named_groups
    if not named:
        return
    used = evidence.groups & named
    count = len(evidence.groups)
    yield f"Groups used by rules here: {_join(used) or 'none'}, of {count} from the provider."
    if not evidence.groups:
        yield f"Groups missing: {evidence.no_group.value}."


def _join(words: Iterable[str]) -> str:
    return ", ".join(word if word.isprintable() else ascii(word) for word in sorted(words))


def _read_list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    return found if isinstance(found, list) else []
