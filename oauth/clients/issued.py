"""A pair of tokens, as a token response gives it to a client: values only."""

from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Issued:
    """RFC 6749 section 5.1. ``expires_in`` is in seconds, of the access token."""

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str

    def __repr__(self) -> str:
        """Show no token."""
        return f"Issued(expires_in={self.expires_in}, scope={self.scope!r})"
