"""Who may sign in, by environment: `SIGN_IN_ALLOWED_…` and, for one provider, `OAUTH_<NAME>_…`.

What enters are environment variables; what leaves is the member "admission" of a provider's
settings (`oauth.access_rule.rule`), and what it adds to the authorization request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.reading import Variables
from oauth.access_rule import (
    GROUP_ID,
    Admission,
    address,
    domain,
    domain_entry,
    github_group,
    is_apple,
    is_google,
    is_open,
    is_shared_entra,
)

SUFFIXES = (
    "ALLOWED_DOMAINS",
    "ALLOWED_EMAILS",
    "ALLOWED_GROUPS",
    "ALLOWED_ORGS",
    "ALLOWED_TEAMS",
    "GROUPS_CLAIM",
    "TRUST_EMAIL",
    "HOSTED_DOMAIN",
    "STAFF_GROUPS",
    "SUPERUSER_GROUPS",
)
GENERAL = "SIGN_IN_"
NAMES = tuple(f"{GENERAL}ALLOWED_{kind}" for kind in ("DOMAINS", "EMAILS", "GROUPS"))
GITHUB = "GITHUB"  # the name of the provider that is no OpenID provider
UPSTREAM_GROUPS = re.compile(r"UPSTREAM_([A-Z0-9_]+)_ALLOWED_GROUPS")
GROUP_LENGTH = 256
NAMED_MAX = 100  # groups of one provider: they are kept in the session
GITHUB_MAX = 20  # organisations and teams: GitHub is asked for each at every sign-in
NOT_VERIFIED_SCOPE, MEMBERS_SCOPE = "user:email", "read:org"  # GitHub's
EXAMPLES = {
    "DOMAINS": "domains, such as example.com, .example.com for its subdomains, or * for everybody",
    "EMAILS": "mail addresses, such as ada@example.com",
    "ORGS": "organizations of GitHub, such as acme",
    "TEAMS": "teams of GitHub, such as acme/operators",
    "GROUPS": f"names of at most {GROUP_LENGTH} letters, separated by commas",
    "GITHUB_GROUPS": "organizations and teams of GitHub, such as acme and acme/operators",
}


@dataclass(frozen=True, kw_only=True)
class Read:
    """What the variables of one provider become. ``scopes`` and ``auth_params`` are added."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    auth_params: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """What is looked at of a configured provider."""

    @property
    def name(self) -> str: ...
    @property
    def issuer(self) -> str | None: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def read(environment: Mapping[str, str], name: str, issuer: str | None) -> Read:
    """Return who may sign in with one provider; ``issuer`` is None where there is none.

    Raises ImproperlyConfigured, naming the variable, when one is unusable.
    """
    return _Variables(environment, name.upper(), issuer).read()


def require_lists(environment: Mapping[str, str], providers: Iterable[Provider]) -> list[str]:
    """Return the names of the providers without any list.

    Raises ImproperlyConfigured where such a one lets in anybody in the world, or where groups are
    meant of which nobody can tell whose they are.
    """
    found = list(providers)
    if len(found) > 1 and environment.get(f"{GENERAL}ALLOWED_GROUPS", "").strip():
        raise ImproperlyConfigured(
            f"{GENERAL}ALLOWED_GROUPS is for one provider alone: a group's name means nothing "
            "without its provider. Set OAUTH_<NAME>_ALLOWED_GROUPS instead."
        )
    without = [each for each in found if not _has_rule(environment, each)]
    for each in without:
        if each.name.upper() == GITHUB or any(map(is_open, _addresses(each))):
            prefix = f"OAUTH_{each.name.upper()}_ALLOWED_"
            raise ImproperlyConfigured(
                f"{prefix}DOMAINS is missing: anybody may open an account at {each.name}, and "
                f"could sign in here. Set it, {GENERAL}ALLOWED_DOMAINS or another list of "
                f"docs/who-may-sign-in.md; {prefix}DOMAINS=* lets everybody in."
            )
    return [each.name for each in without]


def groups(environment: Mapping[str, str], variable: str, *, of_github: bool) -> frozenset[str]:
    """Return a list of groups. Raises ImproperlyConfigured."""
    if of_github:
        return _entries(environment, variable, github_group, EXAMPLES["GITHUB_GROUPS"])
    return _entries(environment, variable, _group, EXAMPLES["GROUPS"], split=_names)


class _Variables(Variables):
    """The variables of one provider, and the general ones."""

    def __init__(self, environment: Mapping[str, str], name: str, issuer: str | None) -> None:
        super().__init__(environment, f"OAUTH_{name}_")
        self._name = name
        self._issuer = issuer
        self._of_github = name == GITHUB

    def read(self) -> Read:
        self._refuse_what_is_not_there()
        found = {
            "domains": self._list("ALLOWED_DOMAINS", domain_entry, EXAMPLES["DOMAINS"]),
            "emails": self._list("ALLOWED_EMAILS", address, EXAMPLES["EMAILS"]),
            "groups": self._allowed_groups(),
            "staff_groups": self._rights("STAFF_GROUPS"),
            "superuser_groups": self._rights("SUPERUSER_GROUPS"),
            "upstream_groups": self._upstream_groups(),
            "groups_claim": self.text("GROUPS_CLAIM"),
            "trust_email": self._trust_email(),
            "hosted_domain": self._hosted_domain(),
        }
        # Lists, since settings are shown; sorted, since they are compared.
        settings = {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in found.items()
            if value
        }
        admission = Admission.from_settings(settings)
        self._check_number(admission)
        hosted = admission.rule.hosted_domain
        return Read(
            settings=settings,
            scopes=self._scopes(admission),
            auth_params={"hd": hosted} if hosted else {},
        )

    def _list(self, suffix: str, one: Callable[[str], str], what: str) -> frozenset[str]:
        """Return a list; that of the provider replaces the general one."""
        own = self._prefix + suffix
        variable = own if self.text(suffix) else GENERAL + suffix
        return _entries(self._environment, variable, one, what)

    def _groups(self, variable: str) -> frozenset[str]:
        return groups(self._environment, variable, of_github=self._of_github)

    def _rights(self, suffix: str) -> frozenset[str]:
        """Return the groups that give rights here."""
        found = self._groups(self._prefix + suffix)
        by_name = any(not GROUP_ID.fullmatch(each) for each in found)
        if by_name and is_shared_entra(self._issuer):
            raise ImproperlyConfigured(
                f"{self._prefix}{suffix} must be object ids of groups with the issuers common and "
                "organizations: whoever manages one of their tenants may make a group, or give "
                "out a role, of any name."
            )
        return found

    def _allowed_groups(self) -> frozenset[str]:
        """Return the groups that may sign in; organisations and teams are groups."""
        own = self._groups(self._prefix + "ALLOWED_GROUPS")
        orgs = self._organisations("ORGS", slashes=0) | self._organisations("TEAMS", slashes=1)
        return own | orgs or self._groups(GENERAL + "ALLOWED_GROUPS")

    def _organisations(self, kind: str, *, slashes: int) -> frozenset[str]:
        def one(text: str) -> str:
            if text.count("/") != slashes:
                raise ValueError
            return github_group(text)

        return _entries(self._environment, f"{self._prefix}ALLOWED_{kind}", one, EXAMPLES[kind])

    def _upstream_groups(self) -> frozenset[str]:
        """Return the groups that upstreams with this provider's tokens ask for."""
        return frozenset().union(*map(self._groups, self._upstream_lists()))

    def _upstream_lists(self) -> Iterator[str]:
        """Yield the variables that name such groups."""
        for variable in self._environment:
            match = UPSTREAM_GROUPS.fullmatch(variable)
            provider = self._environment.get(f"UPSTREAM_{match[1]}_PROVIDER", "") if match else ""
            if provider.strip().upper() == self._name:
                yield variable

    def _trust_email(self) -> bool:
        variable = self._prefix + "TRUST_EMAIL"
        if not self.flag("TRUST_EMAIL"):
            return False
        if self._of_github:
            raise ImproperlyConfigured(
                f"{variable} is not for GitHub, which tells which addresses it has verified."
            )
        shared = map(is_shared_entra, (self._issuer, self.text("AUTHORIZATION_URL")))
        if any(shared):
            raise ImproperlyConfigured(
                f"{variable} would let everybody in: the manager of a tenant of Entra ID may "
                "give its people any address. Have the claim xms_edov sent instead."
            )
        return True

    def _hosted_domain(self) -> str | None:
        variable, value = self._prefix + "HOSTED_DOMAIN", self.text("HOSTED_DOMAIN")
        if value and not is_google(self._issuer):
            raise ImproperlyConfigured(f"{variable} is for Google alone: use ALLOWED_DOMAINS.")
        try:
            return domain(value) if value else None
        except ValueError:
            raise ImproperlyConfigured(
                f"{variable} must be one domain of Google Workspace, such as example.com."
            ) from None

    def _refuse_what_is_not_there(self) -> None:
        """Refuse organisations where there are none, and groups where there are none."""
        if not self._of_github:
            for suffix in ("ALLOWED_ORGS", "ALLOWED_TEAMS"):
                if self.text(suffix):
                    raise ImproperlyConfigured(
                        f"{self._prefix}{suffix} is for GitHub alone: use ALLOWED_GROUPS."
                    )
        elif self.text("GROUPS_CLAIM"):
            raise ImproperlyConfigured(
                f"{self._prefix}GROUPS_CLAIM is not for GitHub, whose groups are its "
                "organizations and teams."
            )
        who = self._without_groups()
        if who is not None:
            for variable in self._about_groups():
                if self._environment.get(variable, "").strip():
                    raise ImproperlyConfigured(
                        f"{variable} cannot be used: {who} tells nothing of groups. Let people "
                        "in by ALLOWED_DOMAINS or ALLOWED_EMAILS."
                    )

    def _without_groups(self) -> str | None:
        if is_google(self._issuer):
            return "Google"
        return "Apple" if is_apple(self._issuer) else None

    def _about_groups(self) -> Iterable[str]:
        own = ("ALLOWED_GROUPS", "STAFF_GROUPS", "SUPERUSER_GROUPS", "GROUPS_CLAIM")
        yield from (self._prefix + suffix for suffix in own)
        yield GENERAL + "ALLOWED_GROUPS"
        yield from self._upstream_lists()

    def _check_number(self, admission: Admission) -> None:
        most = GITHUB_MAX if self._of_github else NAMED_MAX
        if len(admission.named_groups) > most:
            raise ImproperlyConfigured(
                f"{self._prefix}…_GROUPS and the upstreams' name more than {most} groups together."
            )

    def _scopes(self, admission: Admission) -> tuple[str, ...]:
        if not self._of_github:
            return ()
        wanted = {
            NOT_VERIFIED_SCOPE: admission.rule.asks_address,
            MEMBERS_SCOPE: bool(admission.named_groups),
        }
        return tuple(scope for scope, is_needed in wanted.items() if is_needed)


def _addresses(provider: Provider) -> Iterable[str | None]:
    """Return what tells who a provider is: without an issuer, where its people sign in."""
    overrides = provider.settings.get("openid_configuration_overrides") or {}
    return provider.issuer, overrides.get("authorization_endpoint")


def _has_rule(environment: Mapping[str, str], provider: Provider) -> bool:
    settings = read(environment, provider.name, provider.issuer).settings
    return Admission.from_settings(settings).rule.is_set


def _entries(
    environment: Mapping[str, str],
    variable: str,
    one: Callable[[str], str],
    what: str,
    *,
    split: Callable[[str], list[str]] | None = None,
) -> frozenset[str]:
    """Return the entries of a list, each in its one form. Raises ImproperlyConfigured."""
    text = environment.get(variable, "").strip()
    parts = [each for each in (split or _words)(text) if each]
    try:
        found = frozenset(one(each) for each in parts)
    except ValueError:
        found = frozenset()
    if text and not found:
        raise ImproperlyConfigured(f"{variable} must be {what}.")
    return found


def _words(text: str) -> list[str]:
    return re.split(r"[\s,]+", text)


def _names(text: str) -> list[str]:
    """Split at commas; one within a name, as in that of a directory, is written `\\,`."""
    parts = re.split(r"(?<!\\),", text)
    return [part.replace("\\,", ",").strip() for part in parts]


def _group(text: str) -> str:
    if len(text) > GROUP_LENGTH or text == "*" or not text.isprintable():
        raise ValueError
    return text
