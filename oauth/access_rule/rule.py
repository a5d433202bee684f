"""Who may sign in with one provider, and what the groups of its people are for.

The lists are in the form of `oauth.access_rule.addresses`; None is a list that is not set. What
enters is the member "admission" of an app's settings (see `oauth.provider.config`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from oauth.access_rule.addresses import address, domain, domain_of, lower

EVERYBODY = "*"
GROUPS_CLAIM = "groups"
GROUP_LISTS = frozenset({"staff_groups", "superuser_groups", "upstream_groups"})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The lists. An address in `domains` or `emails` (or neither set), and one of `groups`."""

    domains: frozenset[str] | None = None
    emails: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    hosted_domain: str | None = None

    @property
    def is_set(self) -> bool:
        """Whether anybody said who may sign in."""
        lists = (self.domains, self.emails, self.groups, self.hosted_domain)
        return any(each is not None for each in lists)

    @property
    def asks_address(self) -> bool:
        """Whether an address decides."""
        if self.domains is None and self.emails is None:
            return False
        return EVERYBODY not in (self.domains or ())

    def lists(self, normal: str) -> bool:
        """Tell whether an address in its one form is listed."""
        return normal in (self.emails or ()) or self._has_domain(domain_of(normal))

    def _has_domain(self, host: str) -> bool:
        listed = self.domains or frozenset()
        labels = host.split(".")
        above = (".".join(["", *labels[place:]]) for place in range(1, len(labels)))
        return host in listed or any(each in listed for each in above)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """One provider's rule, how its answers are read, and which groups give what here.

    ``upstream_groups`` are those that upstreams ask for.
    """

    rule: Rule = Rule()
    groups_claim: str = GROUPS_CLAIM
    trust_email: bool = False
    staff_groups: frozenset[str] = frozenset()
    superuser_groups: frozenset[str] = frozenset()
    upstream_groups: frozenset[str] = frozenset()

    @property
    def named_groups(self) -> frozenset[str]:
        """The groups that anything here asks for; no others are kept."""
        asked = self.staff_groups | self.superuser_groups | self.upstream_groups
        return asked | (self.rule.groups or frozenset())

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Admission:
        """Read what an app's settings say. Raises ValueError, for lists that cannot be meant."""
        known = {each.name for each in (*fields(Rule), *fields(cls))} - {"rule"}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"{unknown[0]} is no setting of an admission.")
        found: dict[str, Any] = {name: frozenset(settings.get(name) or ()) for name in GROUP_LISTS}
        hosted = settings.get("hosted_domain")
        rule = Rule(
            domains=_each(domain_entry, settings.get("domains")),
            emails=_each(address, settings.get("emails")),
            groups=_each(str, settings.get("groups")),
            hosted_domain=None if hosted is None else domain(hosted),
        )
        return cls(
            rule=rule,
            groups_claim=settings.get("groups_claim") or GROUPS_CLAIM,
            trust_email=settings.get("trust_email") is True,
            **found,
        )


NOTHING_SAID = Admission()


def domain_entry(text: str) -> str:
    """Return an entry of a list of domains in its one form. Raises ValueError.

    `example.com` is that domain alone, `.example.com` its subdomains alone, `*` everybody.
    """
    if text == EVERYBODY:
        return text
    return f".{domain(text[1:])}" if text.startswith(".") else domain(text)


def github_group(text: str) -> str:
    """Return `organisation` or `organisation/team` as they are compared: capitals mean nothing.

    Raises ValueError when it is neither.
    """
    parts = lower(text).split("/")
    named = all(part and part.isascii() and set(part) <= set(_LOGIN) for part in parts)
    if len(parts) > 2 or not named:
        raise ValueError("This is no organisation and no team.")
    return "/".join(parts)


_LOGIN = "abcdefghijklmnopqrstuvwxyz0123456789-_"


def _each(read: Any, entries: Iterable[str] | None) -> frozenset[str] | None:
    return None if entries is None else frozenset(read(entry) for entry in entries)
