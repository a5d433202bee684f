"""The way to a token set that is good for a while: the work of `oauth.get_token`.

What a session holds (`repository`) is judged (`freshness`). Where it has to be refreshed, those
who want the same take turns (`turns`); one of all processes makes the successor, and the others
find it (`refresh_coordinator`). It is kept in the session as it is stored, and then adopted by
the request's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import Signal

from oauth.exceptions import NoLongerAllowed, ProviderUnavailable, ReauthenticationRequired
from oauth.provider.config import Provider
from oauth.provider.revocation import revoke_soon
from oauth.provider.token_set import TokenSet
from oauth.signals import token_refreshed
from oauth.tokens.freshness import Freshness
from oauth.tokens.refresh_coordinator import WAIT_MAX, WORK_MAX, Refresh
from oauth.tokens.repository import Stored, TokenRepository
from oauth.tokens.turns import Busy, InTurn
from sessions_kms import SHORT_ID, StoreUnavailable, id_of
from sessions_kms.services import Services
from sessions_kms.signals import ReceiverCall

GENERATIONS = 5  # of token sets that one call passes through

# `provider`, `subject`: an account that may not sign in any more. Sent when what it began has
# ended here; what it gave elsewhere is taken by those who gave it, who are to the right of here.
account_refused = Signal()


@dataclass(frozen=True)
class FreshToken:
    """One call for a good token set of one session and provider."""

    services: Services = field(repr=False)
    session: SessionBase = field(repr=False)
    provider: Provider
    refused: TokenSet | None = field(default=None, repr=False)

    async def get(self) -> TokenSet:
        """Return the token set. Raises as `oauth.get_token` says."""
        held = await self._repository.at_hand()
        if self._freshness.is_good(held):
            return held
        lasts = self._freshness.lasts(held)
        try:
            stored = await self._in_turn(held, lasts)
        except Busy:
            if not lasts:
                raise
            return held
        return held if stored is None else self._repository.adopt(stored)

    @property
    def _repository(self) -> TokenRepository:
        return TokenRepository(self.services, self.session, self.provider.name)

    @property
    def _freshness(self) -> Freshness:
        return Freshness(self.provider, self.services.clock, self.refused)

    def _in_turn(self, held: TokenSet, lasts: bool) -> InTurn:
        return InTurn(
            held.grant_secret,
            (self.provider.name, held.subject),
            patience=0 if lasts else WAIT_MAX + WORK_MAX,
            work=lambda: self._turn(held.subject, lasts),
        )

    async def _turn(self, subject: str, lasts: bool) -> Stored | None:
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

    async def _refreshed(self, *, patient: bool) -> Stored:
        """Return the good token set that the session holds, or holds from now on."""
        for _ in range(GENERATIONS):
            stored: Stored = await self._repository.stored()
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
        await ReceiverCall(self._tell_refused, (subject,))

    def _tell_refused(self, subject: str) -> None:
        account_refused.send(sender=None, provider=self.provider.name, subject=subject)

    def _announce(self) -> None:
        key = self.session.session_key
        short_id = id_of(key)[:SHORT_ID] if key else None
        token_refreshed.send_robust(sender=None, provider=self.provider.name, session=short_id)
