"""The rule that decides who may sign in, and how it is applied to what a provider says. Pure.

Mail addresses and domains are compared letter by letter, each in one normal form. Only ASCII
letters are lowercased: Unicode has letters whose lower case is an ASCII one, such as the Kelvin
sign. A domain is a sequence of A-labels (RFC 5890 section 2.3.2.1) and nothing is mapped (IDNA
2008).

An `Admission` is read from the member "admission" of an app's settings (`oauth.provider.config`);
in its `Rule`, None is a list that is not set. `Evidence` is what a provider said about an account.
"""

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import idna

ADDRESS_MAX = 320  # characters: RFC 3696, erratum 1690, rounds what RFC 5321 allows
_TO_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

GOOGLE = "accounts.google.com"
APPLE = "appleid.apple.com"
GITHUB = "github.com"  # of its authorization endpoint: it has no issuer
# Where each of Microsoft's clouds has Graph.
# https://learn.microsoft.com/en-us/graph/deployments
GRAPH_OF = {
    "login.microsoftonline.com": "https://graph.microsoft.com",
    "login.microsoftonline.us": "https://graph.microsoft.us",
    "login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
}
# Object ids of Entra ID's groups: one is of one tenant alone.
GROUP_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Tenants that stand for everybody's; the last is that of personal accounts.
# https://learn.microsoft.com/en-us/entra/identity-platform/v2-protocols#endpoints
SHARED_TENANTS = frozenset(
    {"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"}
)

EVERYBODY = "*"
GROUPS_CLAIM = "groups"
LISTS = frozenset({"staff_groups", "superuser_groups", "upstream_groups", "stored_claims"})
EMAIL, NAME = "email", "name"  # claims that a sign-in may have to store


def lower_ascii(text: str) -> str:
    """Return the text with ASCII letters in lower case."""
    return text.translate(_TO_LOWER)


def parse_domain(text: str) -> str:
    """Return a domain in normal form. Raises ValueError."""
    if not text or text.endswith("."):
        raise ValueError("This is not a domain.")
    # Strict: only "." parts two labels.
    return idna.encode(lower_ascii(text), strict=True).decode("ascii")


def parse_address(text: str) -> str:
    """Return a mail address in normal form. Raises ValueError.

    A quoted local part, which may contain an "@", is rejected: nobody lists one.
    """
    local, _, host = text.rpartition("@")
    if not local or len(text) > ADDRESS_MAX or not local.isprintable() or set(local) & set('@" '):
        raise ValueError("This is not a mail address.")
    return f"{lower_ascii(local)}@{parse_domain(host)}"


def is_google(issuer: str | None) -> bool:
    """Return True for Google, which has Workspace domains and no groups."""
    return _host_of(issuer) == GOOGLE


def is_apple(issuer: str | None) -> bool:
    """Return True for Apple, which has no groups."""
    return _host_of(issuer) == APPLE


def is_entra(issuer: str | None) -> bool:
    """Return True for Microsoft Entra ID, in any of its clouds."""
    return _host_of(issuer) in GRAPH_OF


def graph_url(issuer: str) -> str:
    """Return the address of Microsoft Graph for an issuer of Entra ID."""
    return GRAPH_OF[_host_of(issuer)]


def is_shared_entra(issuer: str | None) -> bool:
    """Return True if this issuer signs in people of any tenant of Entra ID."""
    if not is_entra(issuer):
        return False
    tenant = urlsplit(issuer or "").path.strip("/").partition("/")[0]
    return tenant.lower() in SHARED_TENANTS


def is_open(issuer: str | None) -> bool:
    """Return True if anybody can open an account there, by its issuer or sign-in address."""
    return _host_of(issuer) in {GOOGLE, APPLE, GITHUB} or is_shared_entra(issuer)


def _host_of(issuer: str | None) -> str:
    return (urlsplit(issuer).hostname or "") if issuer else ""


class Refusal(StrEnum):
    """Why somebody may not sign in: the code on the page, in the log and in the docs."""

    NO_ADDRESS = "no_address"
    NOT_VERIFIED = "email_not_verified"
    ADDRESSES_NOT_READ = "addresses_not_read"
    ADDRESS = "not_allowed_domain"
    HOSTED_DOMAIN = "not_hosted_domain"
    GROUP = "not_allowed_group"
    NO_GROUPS = "groups_missing"
    OVERAGE = "groups_overage"
    RESTRICTED = "organization_restricted"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a provider said about an account: verified addresses in normal form, and groups.

    ``primary`` is the address that the person prefers, if it is known and verified. ``no_address``
    and ``no_group`` say why a required address or group is missing.
    """

    addresses: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    hosted_domain: str | None = None
    primary: str | None = None
    no_address: Refusal = Refusal.NO_ADDRESS
    no_group: Refusal = Refusal.NO_GROUPS


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Admits an address in `domains` or `emails` (or neither is set), and one of `groups`."""

    domains: frozenset[str] | None = None
    emails: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    hosted_domain: str | None = None

    @property
    def is_set(self) -> bool:
        """Whether any list is set."""
        lists = (self.domains, self.emails, self.groups, self.hosted_domain)
        return any(each is not None for each in lists)

    @property
    def requires_address(self) -> bool:
        """Whether the rule needs an address."""
        if self.domains is None and self.emails is None:
            return False
        return EVERYBODY not in (self.domains or ())

    def allows_address(self, normal: str) -> bool:
        """Return True if an address, in normal form, is listed."""
        return normal in (self.emails or ()) or self._has_domain(normal.rpartition("@")[2])

    def _has_domain(self, host: str) -> bool:
        listed = self.domains or frozenset()
        labels = host.split(".")
        above = (".".join(["", *labels[place:]]) for place in range(1, len(labels)))
        return host in listed or any(each in listed for each in above)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """One provider's rule, how its claims are read, and which groups grant which rights.

    ``upstream_groups`` are those that upstreams require, ``stored_claims`` some of `EMAIL` and
    `NAME`, which the gateway's tokens for upstreams name.
    """

    rule: Rule = Rule()
    groups_claim: str = GROUPS_CLAIM
    trust_email: bool = False
    staff_groups: frozenset[str] = frozenset()
    superuser_groups: frozenset[str] = frozenset()
    upstream_groups: frozenset[str] = frozenset()
    stored_claims: frozenset[str] = frozenset()

    @property
    def named_groups(self) -> frozenset[str]:
        """The groups that any setting names; no others are stored."""
        asked = self.staff_groups | self.superuser_groups | self.upstream_groups
        return asked | (self.rule.groups or frozenset())

    @property
    def needs_addresses(self) -> bool:
        """Whether a sign-in needs the person's addresses."""
        return self.rule.requires_address or EMAIL in self.stored_claims

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Admission":
        """Read the admission settings of an app. Raises ValueError."""
        known = {each.name for each in (*fields(Rule), *fields(cls))} - {"rule"}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"{unknown[0]} is not a setting of an admission.")
        found: dict[str, Any] = {name: frozenset(settings.get(name) or ()) for name in LISTS}
        hosted = settings.get("hosted_domain")
        rule = Rule(
            domains=_parse_each(parse_domain_entry, settings.get("domains")),
            emails=_parse_each(parse_address, settings.get("emails")),
            groups=_parse_each(str, settings.get("groups")),
            hosted_domain=None if hosted is None else parse_domain(hosted),
        )
        return cls(
            rule=rule,
            groups_claim=settings.get("groups_claim") or GROUPS_CLAIM,
            trust_email=settings.get("trust_email") is True,
            **found,
        )


DEFAULT_ADMISSION = Admission()


def parse_domain_entry(text: str) -> str:
    """Return an entry of a list of domains in normal form. Raises ValueError.

    `example.com` matches that domain only, `.example.com` its subdomains only, `*` everybody.
    """
    if text == EVERYBODY:
        return text
    return f".{parse_domain(text[1:])}" if text.startswith(".") else parse_domain(text)


def parse_github_group(text: str) -> str:
    """Return `organisation` or `organisation/team` in lower case: GitHub ignores case.

    Raises ValueError if it is neither.
    """
    parts = lower_ascii(text).split("/")
    named = all(part and part.isascii() and set(part) <= set(_LOGIN_CHARACTERS) for part in parts)
    if len(parts) > 2 or not named:
        raise ValueError("This is not an organisation or a team.")
    return "/".join(parts)


_LOGIN_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_"


def _parse_each(read: Any, entries: Iterable[str] | None) -> frozenset[str] | None:
    return None if entries is None else frozenset(read(entry) for entry in entries)


def find_refusal(rule: Rule, evidence: Evidence) -> Refusal | None:
    """Return why somebody may not sign in; None if they may.

    They may if domains or e-mails list one of their addresses (or neither is set), and groups
    holds one of theirs (or is not set).
    """
    return (
        _refuse_by_hosted_domain(rule, evidence)
        or refuse_by_address(rule, evidence)
        or refuse_by_groups(rule, evidence)
    )


def _refuse_by_hosted_domain(rule: Rule, evidence: Evidence) -> Refusal | None:
    fits = rule.hosted_domain in (None, evidence.hosted_domain)
    return None if fits else Refusal.HOSTED_DOMAIN


def refuse_by_address(rule: Rule, evidence: Evidence) -> Refusal | None:
    """Return why the addresses do not admit somebody; None if they do."""
    if not rule.requires_address or any(map(rule.allows_address, evidence.addresses)):
        return None
    return Refusal.ADDRESS if evidence.addresses else evidence.no_address


def choose_address(rule: Rule, evidence: Evidence) -> str | None:
    """Return the address that names somebody: one that may sign in, best the primary one."""
    admitting = [
        each
        for each in sorted(evidence.addresses)
        if not rule.requires_address or rule.allows_address(each)
    ]
    if evidence.primary in admitting:
        return evidence.primary
    return next(iter(admitting), None)


def refuse_by_groups(rule: Rule, evidence: Evidence) -> Refusal | None:
    """Return why the groups do not admit somebody; None if they do."""
    if rule.groups is None or rule.groups & evidence.groups:
        return None
    return evidence.no_group
