"""The decision itself: a rule and what a provider told enter, a refusal or None leaves."""

from __future__ import annotations

from oauth.access_rule.evidence import Evidence, Refusal
from oauth.access_rule.rule import Rule


def refusal(rule: Rule, told: Evidence) -> Refusal | None:
    """Return why somebody may not sign in, None if they may.

    They may if domains or e-mails list one of their addresses (or neither is set), and groups
    holds one of theirs (or is not set).
    """
    return _of_hosted_domain(rule, told) or of_address(rule, told) or of_groups(rule, told)


def _of_hosted_domain(rule: Rule, told: Evidence) -> Refusal | None:
    fits = rule.hosted_domain in (None, told.hosted_domain)
    return None if fits else Refusal.HOSTED_DOMAIN


def of_address(rule: Rule, told: Evidence) -> Refusal | None:
    """Judge by the addresses alone."""
    if not rule.asks_address or any(map(rule.lists, told.addresses)):
        return None
    return Refusal.ADDRESS if told.addresses else told.no_address


def of_groups(rule: Rule, told: Evidence) -> Refusal | None:
    """Judge by the groups alone."""
    if rule.groups is None or rule.groups & told.groups:
        return None
    return told.no_group
