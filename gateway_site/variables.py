"""The gateway's variables: which there are, which hold a secret, and what was meant for one.

The one home of their names. Each of `NAMES` may be set, and each suffix of `OAUTH_<NAME>_…` and
`UPSTREAM_<NAME>_…`, which stand where they are read; a secret may come from a file
(`secret_files`); `make run` passes all of them on; docs/settings.md and `.env.example` are tested
against this. What is not known and can only be meant for the gateway is refused at the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from django.core.exceptions import ImproperlyConfigured

from gateway_site import providers
from gateway_site.environment import admission, clients
from gateway_site.environment.names import FILE, SERVICE_LINK, nearest
from gateway_site.rules import upstream

NAMES = (
    *admission.NAMES,
    *clients.NAMES,
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "DATABASE_URL",
    "DATA_KEY_CACHE_AGE",
    "DATA_KEY_MAX_STALE",
    "DATA_KEY_PERIOD",
    "DEBUG",
    "DECRYPT_KEY_ARNS",
    "DJANGO_SECRET_KEY",
    "DJANGO_SECRET_KEY_FALLBACKS",
    "DRAIN_SECONDS",
    "GATEWAY_LOCAL",
    "HSTS_PRELOAD",
    "HSTS_SECONDS",
    "KMS_KEY_ARN",
    "LOG_LEVEL",
    "PERSON_CACHE_AGE",
    "PROXY_SCHEME_HEADER",
    "PUBLIC_URL",
    "SESSIONS_ABSOLUTE_TIMEOUT",
    "SESSIONS_IDLE_TIMEOUT",
    "SESSIONS_NAMESPACE",
    "SESSIONS_NOT_BEFORE",
    "SESSIONS_TABLE",
    "SIGN_IN_CONTACT",
    "SITE_LOGO",
    "SITE_NAME",
    "SKIP_PROVIDER_BUTTON",
    "TEMPLATES_DIR",
    "TRUSTED_PROXIES",
)
SECRETS = frozenset({"DATABASE_URL", "DJANGO_SECRET_KEY", "DJANGO_SECRET_KEY_FALLBACKS"})


@dataclass(frozen=True)
class Family:
    """The variables of one kind of thing, `<KIND>_<NAME>_<SUFFIX>`. The first suffix makes it."""

    kind: str
    suffixes: tuple[str, ...]
    secrets: frozenset[str] = frozenset()

    def owners(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield each <NAME> that a variable of this family may be of, with its suffix."""
        for suffix in self.suffixes:
            if match := re.fullmatch(rf"{self.kind}_([A-Z][A-Z0-9_]*)_{suffix}", name):
                yield match[1], suffix

    def mentioned(self, environment: Mapping[str, str]) -> set[str]:
        """Return the <NAME>s whose first variable is there, though it may be empty."""
        first = self.suffixes[0]
        return {
            owner for name in environment for owner, suffix in self.owners(name) if suffix == first
        }


FAMILIES = (
    Family("OAUTH", providers.SUFFIXES, frozenset({"CLIENT_SECRET"})),
    Family("UPSTREAM", upstream.SUFFIXES),
)

# No other program has names that begin so: an unknown one is a mistake, whatever it is near to.
OURS = ("DATA_KEY_", "SESSIONS_", "SIGN_IN_")
# What somebody who knows a provider's own words may call something of ours.
OTHER_WORDS = {"GOOGLE_HD": "OAUTH_GOOGLE_HOSTED_DOMAIN"}
# Every second program has variables of its database.
NOT_OURS = re.compile(r"DATABASE_.*")
NEAR = 0.9  # one letter of ten may be wrong, missing or too much
ALIKE = 0.85  # for what has the beginning of ours already
# Letters of a name of ours: a shorter one is a word that any program may have, or come near to.
NAME_LEAST = 10
SUFFIX_LEAST = 6


def is_secret(name: str) -> bool:
    """Tell whether a variable holds a secret, and may come from a file."""
    return name in SECRETS or any(
        suffix in family.secrets for family in FAMILIES for _, suffix in family.owners(name)
    )


def is_known(name: str) -> bool:
    """Tell whether a variable is the gateway's."""
    return (
        name in NAMES
        or (name.endswith(FILE) and is_secret(name.removesuffix(FILE)))
        or any(True for family in FAMILIES for _ in family.owners(name))
    )


def concerns_gateway(name: str) -> bool:
    """Tell whether a variable is the gateway's, or what `refuse_unknown` may have to judge."""
    beginnings = (*OURS, *(f"{family.kind}_" for family in FAMILIES))
    return is_known(name) or name.startswith(beginnings) or _near_miss(name) is not None


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raise ImproperlyConfigured for a variable that was meant for the gateway and is not known.

    Those of a provider or an upstream that is there are judged where that is read. Variables of
    other programs are left alone, and so is a near miss beside the variable that it resembles.
    """
    for name in sorted(environment):
        if is_known(name):
            _refuse_orphan(name, environment)
        elif not SERVICE_LINK.fullmatch(name) and (meant := _meant(name, environment)):
            raise ImproperlyConfigured(
                f"{name} is no variable that is known. The nearest is {meant}; docs/settings.md "
                "has them all."
            )


def _refuse_orphan(name: str, environment: Mapping[str, str]) -> None:
    """Refuse what is said of a provider or an upstream that nothing makes."""
    for family in FAMILIES:
        owners = [owner for owner, _ in family.owners(name.removesuffix(FILE))]
        owners += [owner for owner, _ in family.owners(name)]
        mentioned = family.mentioned(environment)
        if not owners or mentioned.intersection(owners):
            continue
        first = f"{family.kind}_{owners[0]}_{family.suffixes[0]}"
        known = [f"{family.kind}_{owner}_{s}" for owner, s in product(mentioned, family.suffixes)]
        near = nearest(name, known, NEAR)
        raise ImproperlyConfigured(
            f"{name} is about nothing: {first} is not set."
            + (f" The nearest variable that would count is {near}." if near else "")
        )


def _meant(name: str, environment: Mapping[str, str]) -> str | None:
    if name.startswith(OURS):
        return nearest(name, NAMES, 0)
    for family in FAMILIES:
        if name.startswith(f"{family.kind}_"):
            return _resembling(family, name)
    near = _near_miss(name)
    return None if near is None or near in environment else near


def _near_miss(name: str) -> str | None:
    """Return which plain variable a name comes near to."""
    if is_known(name) or NOT_OURS.fullmatch(name):
        return None
    long = [each for each in NAMES if len(each) >= NAME_LEAST]
    near = nearest(name, [*long, *OTHER_WORDS], NEAR)
    return OTHER_WORDS.get(near, near) if near else None


def _resembling(family: Family, name: str) -> str | None:
    """Return what a name of this kind is with the suffix that its end comes near to."""
    parts = name.split("_")
    suffixes = [each for each in family.suffixes if len(each) >= SUFFIX_LEAST]
    for at in range(2, len(parts)):
        if near := nearest("_".join(parts[at:]), suffixes, ALIKE):
            return "_".join([*parts[:at], near])
    return None
