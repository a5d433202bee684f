"""Which upstream a client means, by RFC 8707's `resource` or by scope, and what it may have there.

The issuer and the names of the offered upstreams enter. The audience is the upstream, whichever of
its addresses is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from oauth.clients.rules.refusal import INVALID_TARGET, Refused

ROOT = "/gateway/"
OFFLINE_ACCESS = "offline_access"  # some clients refresh only when they see it offered
REST = re.compile(r"/?|(?:/[A-Za-z0-9._~-]{1,100}){1,20}/?")
DOTS = re.compile(r"\.{1,2}")


def resource_of(issuer: str, upstream: str) -> str:
    """Return the audience of an upstream's tokens."""
    return f"{issuer}{ROOT}{upstream}"


def is_below(rest: str) -> bool:
    """Tell whether what follows an upstream's name in an address can be echoed: plain segments."""
    return bool(REST.fullmatch(rest)) and not any(map(DOTS.fullmatch, rest.split("/")))


def upstream_of(issuer: str, offered: Collection[str], resource: str) -> str:
    """Return the upstream that an address is of. Raises Refused for one that is not offered.

    Scheme and host may be in capitals (RFC 3986 section 6.2.2.1).
    """
    origin, path = resource[: len(issuer)].lower(), resource[len(issuer) :]
    name, slash, rest = path.removeprefix(ROOT).partition("/")
    if origin != issuer or not path.startswith(ROOT) or name not in offered:
        raise _not_offered()
    if not is_below(slash + rest):
        raise _not_offered()
    return name


def possible(
    issuer: str, offered: Collection[str], resource: str | None, scope: Iterable[str]
) -> tuple[str, ...]:
    """Return the upstreams that a request may be about, at least one. Raises Refused.

    Without a resource they are those that the scope names, or all: clients from before RFC 8707
    send neither, and their person has to choose.
    """
    if resource is not None:
        return (upstream_of(issuer, offered, resource),)
    named = [each for each in dict.fromkeys(scope) if each in offered]
    if not (named or offered):
        raise _not_offered()
    return tuple(named or sorted(offered))


def chosen(choices: tuple[str, ...], choice: str | None) -> str:
    """Return the upstream that a person chose; the only one there is need not be chosen.

    Raises Refused.
    """
    if choice is None and len(choices) == 1:
        return choices[0]
    if choice not in choices:
        raise _not_offered()
    return choice


def granted(upstream: str, asked: Iterable[str]) -> str:
    """Return the scope of a grant: unknown ones are dropped (RFC 6749 section 3.3)."""
    more = [OFFLINE_ACCESS] if OFFLINE_ACCESS in asked else []
    return " ".join([upstream, *more])


def _not_offered() -> Refused:
    return Refused(INVALID_TARGET, "The resource is no address of an upstream that is offered.")
