"""Finds or makes a valid token set: the work of `oauth.get_token`.

The session's token set (`repository`) is judged by its `Freshness`. If it has to be refreshed, the
requests of this process that want the same queue up (`refresh_queue`); one process of all makes the
successor, and the others find it (`refresh_coordinator`). It is stored in the session at once, and
then adopted by the request's own session.
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

REJECTED_AGE = 30  # seconds; a younger token is not refreshed because an upstream rejects it
GENERATIONS = 5  # of token sets that one call passes through

# `provider`, `subject`: an account that may not sign in any more. Sent once its session has ended;
# receivers withdraw what else it granted.
account_refused = Signal()


@dataclass(frozen=True)
class Freshness:
    """Judges token sets for one call; ``rejected`` is the one that an upstream answered 401 to."""

    provider: ProviderConfig
    clock: Callable[[], float]
    rejected: TokenSet | None = field(default=None, repr=False)

    def is_good(self, held: TokenSet) -> bool:
        """Return True if a token set can be used without a refresh."""
        left = self._left(held)
        if self._is_rejected(held):
            return left > 0 and self.clock() - (held.issued_at or 0) < REJECTED_AGE
        return left > (0 if held.refresh_token is None else self._leeway(held))

    def lasts(self, held: TokenSet) -> bool:
        """Return True if a token set is neither expired nor rejected."""
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


class FreshToken:
    """One call for a valid token set of one session and provider."""

    def __init__(
        self,
        services: Services,
        session: SessionBase,
        provider: ProviderConfig,
        rejected: TokenSet | None = None,
    ) -> None:
        self._services = services
        self._session = session
        self._provider = provider
        self._repository = TokenRepository(services, session, provider.name)
        self._freshness = Freshness(provider, services.clock, rejected)

    async def get(self) -> TokenSet:
        """Return the token set. Raises as `oauth.get_token` says."""
        held = await self._repository.load()
        if self._freshness.is_good(held):
            return held
        lasts = self._freshness.lasts(held)
        queued = QueuedRefresh(
            held.grant_secret,
            (self._provider.name, held.subject),
            max_wait=0 if lasts else WAIT_MAX + WORK_MAX,
            work=lambda: self._refresh_if_possible(held.subject, lasts),
        )
        try:
            stored: StoredTokenSet | None = await queued
        except RefreshBusy:
            if not lasts:
                raise
            return held
        return held if stored is None else self._repository.adopt(stored)

    async def _refresh_if_possible(self, subject: str, lasts: bool) -> StoredTokenSet | None:
        """Refresh, which is finished even if the caller is cancelled.

        Returns None if that fails and the current token set ``lasts``. A person who may not sign
        in any more gets nothing, however long the token set would last.
        """
        try:
            return await self._refresh(patient=not lasts)
        except NoLongerAllowed:
            await self._end_session(subject)
            raise
        except (ProviderUnavailable, ReauthenticationRequired, StoreUnavailable):
            if not lasts:
                raise
            return None

    async def _refresh(self, *, patient: bool) -> StoredTokenSet:
        """Return the valid token set that the session holds, or holds from now on."""
        for _ in range(GENERATIONS):
            stored = await self._repository.load_stored()
            held = stored.token_set
            if self._freshness.is_good(held):
                return stored
            self._freshness.require_renewable(held)
            refresh = Refresh(self._services, self._provider, held)
            new = await self._find_successor(refresh, patient=patient)
            if new is None:
                continue
            kept = await self._repository.replace(held, new)
            is_made = refresh.is_made and kept.token_set.grant_secret == new.grant_secret
            if is_made:
                await refresh.shorten_result()
                await ReceiverCall(self._send_refreshed)
            if is_made or self._freshness.is_good(kept.token_set):
                return kept
        raise ProviderUnavailable("The provider's tokens expire as soon as they are issued.")

    async def _find_successor(self, refresh: Refresh, *, patient: bool) -> TokenSet | None:
        """Return the successor of a token set; None if the session has another one by now."""
        found = await refresh.find(patient=patient)
        if found is not None:
            return found
        try:
            # The lease has been held for a moment only: others may have refreshed before that.
            current = await self._repository.load_stored()
            if current.token_set.grant_secret != refresh.held.grant_secret:
                return None
            return await refresh.perform()
        finally:
            await refresh.give_up()

    async def _end_session(self, subject: str) -> None:
        """End the session that was begun with an account that may not sign in any more."""
        others = await self._repository.end(subject)
        if others is None:
            return
        for name, token_set in others.items():
            revoke_soon(self._services, name, token_set)
        await ReceiverCall(self._send_rejected, (subject,))

    def _send_rejected(self, subject: str) -> None:
        account_refused.send(sender=None, provider=self._provider.name, subject=subject)

    def _send_refreshed(self) -> None:
        key = self._session.session_key
        short_id = id_of(key)[:SHORT_ID] if key else None
        token_refreshed.send_robust(sender=None, provider=self._provider.name, session=short_id)
