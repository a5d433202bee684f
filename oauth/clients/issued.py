"""What a client is given: a code, then pairs of tokens. Values only."""

from dataclasses import dataclass

from oauth.clients.told import ToldGrant


@dataclass(frozen=True, repr=False)
class Allowed:
    """A code, and the grants of the same person that ended to make room for its own."""

    code: str
    ended: tuple[ToldGrant, ...] = ()

    def __repr__(self) -> str:
        """Show no code."""
        return f"Allowed(ended={self.ended!r})"


@dataclass(frozen=True, repr=False)
class Issued:
    """A pair of tokens (RFC 6749 section 5.1).

    ``expires_in`` is in seconds, of the access token. ``refresh_token_timeout`` is how long the
    refresh token may be kept without being used, and ``authorization_expires_in`` when the grant
    ends whatever is done (draft-ietf-oauth-refresh-token-expiration-03); both are None where an
    answer of an earlier release is repeated, which did not have them.
    """

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    refresh_token_timeout: int | None = None
    authorization_expires_in: int | None = None

    def __repr__(self) -> str:
        """Show no token."""
        return f"Issued(expires_in={self.expires_in}, scope={self.scope!r})"
