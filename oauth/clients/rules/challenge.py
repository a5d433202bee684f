"""What a call without a good token is told: where to learn who gives one (RFC 9728 section 5.1)."""

from __future__ import annotations

from oauth.clients.rules import resources

METADATA = "/.well-known/oauth-protected-resource"


def challenge(issuer: str, upstream: str, rest: str, *, invalid: bool) -> str:
    """Return the value of WWW-Authenticate, `Bearer` alone: some clients read the first only.

    ``rest`` is what follows the upstream's name in the address, which the metadata repeats; a token
    that was shown is ``invalid`` (RFC 6750 section 3.1).
    """
    path = upstream + (rest if resources.is_below(rest) else "")
    members = {
        **({"error": "invalid_token"} if invalid else {}),
        "resource_metadata": f"{issuer}{METADATA}{resources.ROOT}{path}",
        "scope": upstream,
    }
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in members.items())
