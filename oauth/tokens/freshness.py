"""Whether a token set is good enough: for how long yet, for the upstream, for its provider.

A token set enters, a judgement of this moment leaves. Knows nothing of where it is kept and of
how another one is had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from oauth.exceptions import ReauthenticationRequired
from oauth.provider.config import Provider
from oauth.provider.token_set import TokenSet

REFUSED_AGE = 30  # seconds; a younger token that an upstream refuses is not refreshed for that


@dataclass(frozen=True)
class Freshness:
    """How one call judges token sets; ``refused`` is the one that its upstream answered 401 to."""

    provider: Provider
    clock: Callable[[], float]
    refused: TokenSet | None = field(default=None, repr=False)

    def is_good(self, held: TokenSet) -> bool:
        """Tell whether a token set can be handed out without a refresh."""
        left = self._left(held)
        if self._is_refused(held):
            return left > 0 and self.clock() - (held.issued_at or 0) < REFUSED_AGE
        return left > (0 if held.refresh_token is None else self._leeway(held))

    def lasts(self, held: TokenSet) -> bool:
        """Tell whether a token set is at least not expired and not refused."""
        return self._left(held) > 0 and not self._is_refused(held)

    def require_renewable(self, held: TokenSet) -> None:
        """Raise ReauthenticationRequired for a token set that no refresh can follow."""
        if held.refresh_token is None:
            raise ReauthenticationRequired("The token cannot be refreshed.")
        if held.refresh_expires_at is not None and held.refresh_expires_at <= self.clock():
            raise ReauthenticationRequired("The refresh token has expired.")
        if held.client_id != self.provider.client_id:
            raise ReauthenticationRequired("The token was issued to another client.")

    def _is_refused(self, held: TokenSet) -> bool:
        return self.refused is not None and self.refused.access_token == held.access_token

    def _left(self, held: TokenSet) -> float:
        return float("inf") if held.expires_at is None else held.expires_at - self.clock()

    def _leeway(self, held: TokenSet) -> float:
        """Return the leeway: half the life of a token that lives shorter than two leeways."""
        leeway = float(self.provider.refresh_leeway)
        if held.expires_at is None or held.issued_at is None:
            return leeway
        return min(leeway, (held.expires_at - held.issued_at) / 2)
