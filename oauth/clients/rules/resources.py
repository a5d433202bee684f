"""Upstreams as protected resources: by RFC 8707's `resource` or by scope, and in challenges (RFC
9728).

Takes the issuer and the names of the offered upstreams. The audience is the upstream, whichever of
its addresses is named.
"""

import re
from collections.abc import Collection, Iterable

from oauth.clients.rules.errors import INVALID_TARGET, RequestRejected

GATEWAY_PATH = "/gateway/"
OFFLINE_ACCESS = "offline_access"  # some clients refresh only when they see it offered
PLAIN_PATH = re.compile(r"/?|(?:/[A-Za-z0-9._~-]{1,100}){1,20}/?")
DOT_SEGMENT = re.compile(r"\.{1,2}")

METADATA_PATH = "/.well-known/oauth-protected-resource"


def resource_of(issuer: str, upstream: str) -> str:
    """Return the audience of an upstream's tokens."""
    return f"{issuer}{GATEWAY_PATH}{upstream}"


def is_plain_path(rest: str) -> bool:
    """Return True if the path after an upstream's name has only plain segments, safe to echo."""
    return bool(PLAIN_PATH.fullmatch(rest)) and not any(map(DOT_SEGMENT.fullmatch, rest.split("/")))


def find_upstream(issuer: str, offered: Collection[str], resource: str) -> str:
    """Return the upstream of an address. Raises RequestRejected if it is not offered.

    Scheme and host may be in capitals (RFC 3986 section 6.2.2.1).
    """
    origin, path = resource[: len(issuer)].lower(), resource[len(issuer) :]
    name, slash, rest = path.removeprefix(GATEWAY_PATH).partition("/")
    if origin != issuer or not path.startswith(GATEWAY_PATH) or name not in offered:
        raise _not_offered()
    if not is_plain_path(slash + rest):
        raise _not_offered()
    return name


def find_upstreams(
    issuer: str, offered: Collection[str], resource: str | None, scope: Iterable[str]
) -> tuple[str, ...]:
    """Return the upstreams that a request may be about, at least one. Raises RequestRejected.

    Without a resource they are those that the scope names, or all: clients from before RFC 8707
    send neither, and their person has to choose.
    """
    if resource is not None:
        return (find_upstream(issuer, offered, resource),)
    named = [each for each in dict.fromkeys(scope) if each in offered]
    if not (named or offered):
        raise _not_offered()
    return tuple(named or sorted(offered))


def choose_upstream(choices: tuple[str, ...], choice: str | None) -> str:
    """Return the upstream that a person chose; the only one there is need not be chosen.

    Raises RequestRejected.
    """
    if choice is None and len(choices) == 1:
        return choices[0]
    if choice not in choices:
        raise _not_offered()
    return choice


def grant_scope(upstream: str, asked: Iterable[str]) -> str:
    """Return the scope of a grant: unknown ones are dropped (RFC 6749 section 3.3)."""
    more = [OFFLINE_ACCESS] if OFFLINE_ACCESS in asked else []
    return " ".join([upstream, *more])


def _not_offered() -> RequestRejected:
    return RequestRejected(
        INVALID_TARGET, "The resource is no address of an upstream that is offered."
    )


def make_challenge(
    issuer: str, upstream: str, rest: str, *, error: str = "", algorithms: Iterable[str] = ()
) -> str:
    """Return the value of WWW-Authenticate, of one scheme: some clients read the first only.

    ``rest`` is the path after the upstream's name, which the metadata URL repeats. ``error`` is set
    if a token was presented (RFC 6750 section 3.1). With ``algorithms``, those of proofs, the
    scheme is `DPoP` (RFC 9449 section 7.1).
    """
    path = upstream + (rest if is_plain_path(rest) else "")
    algs = " ".join(algorithms)
    members = {
        **({"error": error} if error else {}),
        **({"algs": algs} if algs else {}),
        "resource_metadata": f"{issuer}{METADATA_PATH}{GATEWAY_PATH}{path}",
        "scope": upstream,
    }
    return ("DPoP " if algs else "Bearer ") + ", ".join(
        f'{name}="{value}"' for name, value in members.items()
    )
