"""Whether a token set is good enough: for how long yet, for the upstream, for its provider.

A token set enters, a judgement of this moment leaves. Knows nothing of where it is kept and of
how another one is had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import Signal

from oauth.exceptions import NoLongerAllowed, ProviderUnavailable, ReauthenticationRequired
from oauth.provider.config import ProviderConfig
from oauth.provider.revocation import revoke_soon
from oauth.provider.token_set import TokenSet
from oauth.signals import token_refreshed
from oauth.tokens.refresh_coordinator import WAIT_MAX, WORK_MAX, Refresh
from oauth.tokens.refresh_queue import QueuedRefresh, RefreshBusy
from oauth.tokens.repository import StoredTokenSet, TokenRepository
from sessions_kms import SHORT_ID, StoreUnavailable, id_of
from sessions_kms.services import Services
from sessions_kms.signals import ReceiverCall

REJECTED_AGE = 30  # seconds; a younger token that an upstream refuses is not refreshed for that

GENERATIONS = 5  # of token sets that one call passes through

# `provider`, `subject`: an account that may not sign in any more. Sent when what it began has
# ended here; what it gave elsewhere is taken by those who gave it, who are to the right of here.
account_rejected = Signal()


@dataclass(frozen=True)
class Freshness:
    """How one call judges token sets; ``rejected`` is the one that its upstream answered 401 to."""

    provider: ProviderConfig
    clock: Callable[[], float]
    rejected: TokenSet | None = field(default=None, repr=False)

    def is_good(self, held: TokenSet) -> bool:
        """Tell whether a token set can be handed out without a refresh."""
        left = self._left(held)
        if self._is_rejected(held):
            return left > 0 and self.clock() - (held.issued_at or 0) < REJECTED_AGE
        return left > (0 if held.refresh_token is None else self._leeway(held))

    def lasts(self, held: TokenSet) -> bool:
        """Tell whether a token set is at least not expired and not rejected."""
        return self._left(held) > 0 and not self._is_rejected(held)

    def require_renewable(self, held: TokenSet) -> None:
        """Raise ReauthenticationRequired for a token set that no refresh can follow."""
        if held.refresh_token is None:
            raise ReauthenticationRequired("The token cannot be refreshed.")
        if held.refresh_expires_at is not None and held.refresh_expires_at <= self.clock():
            raise ReauthenticationRequired("The refresh token has expired.")
        if held.client_id != self.provider.client_id:
            raise ReauthenticationRequired("The token was issued to another client.")

    def _is_rejected(self, held: TokenSet) -> bool:
        return self.rejected is not None and self.rejected.access_token == held.access_token

    def _left(self, held: TokenSet) -> float:
        return float("inf") if held.expires_at is None else held.expires_at - self.clock()

    def _leeway(self, held: TokenSet) -> float:
        """Return the leeway: half the life of a token that lives shorter than two leeways."""
        leeway = float(self.provider.refresh_leeway)
        if held.expires_at is None or held.issued_at is None:
            return leeway
        return min(leeway, (held.expires_at - held.issued_at) / 2)


@dataclass(frozen=True)
class FreshToken:
    """One call for a good token set of one session and provider."""

    services: Services = field(repr=False)
    session: SessionBase = field(repr=False)
    provider: ProviderConfig
    rejected: TokenSet | None = field(default=None, repr=False)

    async def get(self) -> TokenSet:
        """Return the token set. Raises as `oauth.get_token` says."""
        held = await self._repository.at_hand()
        if self._freshness.is_good(held):
            return held
        lasts = self._freshness.lasts(held)
        try:
            stored = await self._in_turn(held, lasts)
        except RefreshBusy:
            if not lasts:
                raise
            return held
        return held if stored is None else self._repository.adopt(stored)

    @property
    def _repository(self) -> TokenRepository:
        return TokenRepository(self.services, self.session, self.provider.name)

    @property
    def _freshness(self) -> Freshness:
        return Freshness(self.provider, self.services.clock, self.rejected)

    def _in_turn(self, held: TokenSet, lasts: bool) -> QueuedRefresh:
        return QueuedRefresh(
            held.grant_secret,
            (self.provider.name, held.subject),
            patience=0 if lasts else WAIT_MAX + WORK_MAX,
            work=lambda: self._turn(held.subject, lasts),
        )

    async def _turn(self, subject: str, lasts: bool) -> StoredTokenSet | None:
        """Refresh, which is finished even if the caller is cancelled.

        None where that cannot be done, and what is held ``lasts``. Whoever may not sign in any
        more gets nothing, however long it would last.
        """
        try:
            return await self._refreshed(patient=not lasts)
        except NoLongerAllowed:
            await self._end(subject)
            raise
        except (ProviderUnavailable, ReauthenticationRequired, StoreUnavailable):
            if not lasts:
                raise
            return None

    async def _refreshed(self, *, patient: bool) -> StoredTokenSet:
        """Return the good token set that the session holds, or holds from now on."""
        for _ in range(GENERATIONS):
            stored: StoredTokenSet = await self._repository.stored()
            held = stored.token_set
            if self._freshness.is_good(held):
                return stored
            self._freshness.require_renewable(held)
            refresh = Refresh(self.services, self.provider, held)
            new = await self._successor(refresh, patient=patient)
            if new is None:
                continue
            kept = await self._repository.replaced(held, new)
            is_made = refresh.is_made and kept.token_set.grant_secret == new.grant_secret
            if is_made:
                await refresh.saved()
                await ReceiverCall(self._announce)
            if is_made or self._freshness.is_good(kept.token_set):
                return kept
        raise ProviderUnavailable("The provider's tokens expire as soon as they are issued.")

    async def _successor(self, refresh: Refresh, *, patient: bool) -> TokenSet | None:
        """Return the successor of a token set; None when the session has another one by now."""
        found = await refresh.found(patient=patient)
        if found is not None:
            return found
        try:
            # The lease is held since a moment ago: others may have been here before that.
            current = await self._repository.stored()
            if current.token_set.grant_secret != refresh.held.grant_secret:
                return None
            return await refresh.made()
        finally:
            await refresh.given_up()

    async def _end(self, subject: str) -> None:
        """End what was begun with an account that may not sign in any more."""
        others = await self._repository.ended(subject)
        if others is None:
            return
        for name, token_set in others.items():
            revoke_soon(self.services, name, token_set)
        await ReceiverCall(self._announce_rejection, (subject,))

    def _announce_rejection(self, subject: str) -> None:
        account_rejected.send(sender=None, provider=self.provider.name, subject=subject)

    def _announce(self) -> None:
        key = self.session.session_key
        short_id = id_of(key)[:SHORT_ID] if key else None
        token_refreshed.send_robust(sender=None, provider=self.provider.name, session=short_id)
