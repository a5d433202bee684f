"""All variables of the gateway: which exist, which hold a secret, and which a name was meant for.

Each is declared once (`environment.variable`), beside what reads it. A secret may come from a file
(`environment.secret_files`). `make run` passes all of them on. A variable that is not declared, and
can only be meant for the gateway, is an error at the start.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from gateway_site.environment.admission_variables import SignInVariables
from gateway_site.environment.clients import ClientVariables
from gateway_site.environment.gateway_variables import GatewayVariables
from gateway_site.environment.variable import (
    FILE,
    SERVICE_LINK,
    Family,
    Variable,
    Variables,
    find_nearest,
)
from gateway_site.identity.variables import IdentityVariables
from gateway_site.providers.variables import ProviderVariables
from gateway_site.rules.upstream import UpstreamVariables
from sessions_kms.hints import page

GROUPS: tuple[type[Variables], ...] = (
    GatewayVariables,
    ClientVariables,
    SignInVariables,
    IdentityVariables,
)
GENERAL = {variable.name: variable for group in GROUPS for variable in group.declarations()}
FAMILIES: tuple[type[Family], ...] = (ProviderVariables, UpstreamVariables)

# No other program has names that begin so: an unknown one is a mistake, whatever it resembles.
OWN_PREFIXES = ("DATA_KEY_", "SESSIONS_", "SIGN_IN_")
# A provider's own term for one of our variables.
SYNONYMS = {"GOOGLE_HD": "OAUTH_GOOGLE_HOSTED_DOMAIN"}
# Many programs have variables of their database.
FOREIGN = re.compile(r"DATABASE_.*")
SIMILAR = 0.9  # one letter of ten may be wrong, missing or too much
SIMILAR_ANYWHERE = 0.6  # if no other program can be meant
SIMILAR_SUFFIX = 0.85  # if the prefix is ours already
# Shorter names are words that any program may use, or resemble.
NAME_LENGTH_MIN = 10
SUFFIX_LENGTH_MIN = 6


def is_secret(name: str) -> bool:
    """Return True if a variable holds a secret, and may come from a file."""
    if name in GENERAL:
        return GENERAL[name].secret
    return any(declared.secret for family in FAMILIES for _, declared in family.split(name))


def is_known(name: str) -> bool:
    """Return True if a variable is the gateway's."""
    return (
        name in GENERAL
        or (name.endswith(FILE) and is_secret(name.removesuffix(FILE)))
        or any(True for family in FAMILIES for _ in family.split(name))
    )


def find_declaration(name: str) -> Variable[Any] | None:
    """Return the declaration of a variable, also by the name with which its file is set."""
    base = name.removesuffix(FILE) if is_secret(name.removesuffix(FILE)) else name
    if base in GENERAL:
        return GENERAL[base]
    owners = [owner for family in FAMILIES for owner in family.split(base)]
    # The longest suffix counts: `UPSTREAM_A_READ_MCP` is no MCP server's `A_READ`.
    return min(owners, key=lambda owner: len(owner[0]))[1] if owners else None


def suggest(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the variable that an unknown name was probably meant for."""
    meant = name.upper().replace("-", "_").replace(".", "_")
    if is_known(meant):
        return meant
    return _find_meant(meant, environment) or find_nearest(meant, GENERAL, SIMILAR_ANYWHERE)


def concerns_gateway(name: str) -> bool:
    """Return True for the gateway's variables, and for what `find_unknown` may find."""
    prefixes = (*OWN_PREFIXES, *(f"{family.kind}_" for family in FAMILIES))
    return is_known(name) or name.startswith(prefixes) or _find_similar(name) is not None


def find_unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each unknown variable that was meant for the gateway.

    Those of a declared provider or upstream are checked where it is read. Variables of other
    programs are left alone, and so is a similar name beside the variable that it resembles.
    """
    for name in sorted(environment):
        if is_known(name):
            yield from _find_orphan(name, environment)
        elif not SERVICE_LINK.fullmatch(name) and (meant := _find_meant(name, environment)):
            yield (
                f"{name} is not a known variable. Did you mean {meant}? {page('settings')} lists "
                "all variables."
            )


def _find_orphan(name: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence if a variable belongs to a provider or an upstream that does not exist."""
    for family in FAMILIES:
        owners = [owner for owner, _ in family.split(name.removesuffix(FILE))]
        owners += [owner for owner, _ in family.split(name)]
        mentioned = family.list_mentioned(environment)
        if not owners or mentioned.intersection(owners):
            continue
        suffixes = family.suffixes()
        known = [f"{family.kind}_{owner}_{each}" for owner, each in product(mentioned, suffixes)]
        similar = find_nearest(name, known, SIMILAR)
        yield (
            f"{name} has no effect: {family.kind}_{owners[0]}_{family.creating_suffixes()[0]} is "
            "not set." + (f" Did you mean {similar}?" if similar else "")
        )
        return


def _find_meant(name: str, environment: Mapping[str, str]) -> str | None:
    if name.startswith(OWN_PREFIXES):
        return find_nearest(name, GENERAL, 0)
    for family in FAMILIES:
        if name.startswith(f"{family.kind}_"):
            return _find_similar_in(family, name)
    similar = _find_similar(name)
    return None if similar is None or similar in environment else similar


def _find_similar(name: str) -> str | None:
    """Return the general variable that a name resembles."""
    if is_known(name) or FOREIGN.fullmatch(name):
        return None
    long = [each for each in GENERAL if len(each) >= NAME_LENGTH_MIN]
    similar = find_nearest(name, [*long, *SYNONYMS], SIMILAR)
    return SYNONYMS.get(similar, similar) if similar else None


def _find_similar_in(family: type[Family], name: str) -> str | None:
    """Return the name with the suffix of the family that its end resembles."""
    parts = name.split("_")
    suffixes = [each for each in family.suffixes() if len(each) >= SUFFIX_LENGTH_MIN]
    for at in range(2, len(parts)):
        if similar := find_nearest("_".join(parts[at:]), suffixes, SIMILAR_SUFFIX):
            return "_".join([*parts[:at], similar])
    return None
