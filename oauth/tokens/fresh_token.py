"""Returns a valid token set and refreshes it first if necessary: implements `oauth.get_token`.

`Freshness` decides whether the session's token set (`vault`) has to be refreshed. Requests of
this process that refresh the same token set wait in a queue (`refresh_queue`). Only one process
refreshes it, and the others load the result (`refresh_coordinator`). The successor is saved to the
stored session immediately; then the request's own session object adopts it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from django.dispatch import Signal

from oauth.exceptions import (
    NoLongerAllowed,
    ProviderUnavailable,
    ReauthenticationRequired,
    SessionFull,
)
from oauth.provider.config import ProviderConfig
from oauth.provider.token_set import TokenSet
from oauth.signals import token_refreshed
from oauth.tokens.providers import provider_of
from oauth.tokens.refresh_coordinator import WAIT_MAX, WORK_MAX, Refresh
from oauth.tokens.refresh_queue import QueuedRefresh, RefreshBusy
from oauth.tokens.remaining_access import RemainingAccess
from oauth.tokens.revocation import revoke_soon
from oauth.tokens.vault import StoredTokenSet, TokenRepository
from sessions_kms import SHORT_ID, SessionStore, StoreUnavailable, id_of
from sessions_kms.services import Services
from sessions_kms.signals import ReceiverCall

REJECTED_AGE = 30  # seconds; a younger token is not refreshed because an upstream rejects it
GENERATIONS = 5  # successive token sets that one call tries

# `provider`, `subject`: an account that is no longer allowed to sign in. Sent after its session has
# ended; receivers withdraw everything else that the account granted.
account_refused = Signal()


@dataclass(frozen=True)
class Freshness:
    """Decides for one call whether a token set of a provider can be used.

    ``rejected`` is the token set to which an upstream responded with 401. Without ``needs_access``
    only the account counts: the end of an access token that cannot be refreshed changes nothing.
    """

    provider: ProviderConfig
    clock: Callable[[], float]
    rejected: TokenSet | None = field(default=None, repr=False)
    needs_access: bool = True

    def is_good(self, token_set: TokenSet) -> bool:
        """Return True if a token set can be used without a refresh."""
        if not self.needs_access and self._is_without_refresh(token_set):
            return True
        remaining = self._remaining_lifetime(token_set)
        if self._is_rejected(token_set):
            return remaining > 0 and self.clock() - (token_set.issued_at or 0) < REJECTED_AGE
        return remaining > (self._leeway(token_set) if token_set.is_renewable else 0)

    def lasts(self, token_set: TokenSet) -> bool:
        """Return True if a token set is neither expired nor rejected."""
        return self._remaining_lifetime(token_set) > 0 and not self._is_rejected(token_set)

    def require_renewable(self, token_set: TokenSet) -> None:
        """Raise ReauthenticationRequired if the token set cannot be refreshed."""
        if token_set.refresh_token is None:
            raise ReauthenticationRequired("The token cannot be refreshed.")
        if (
            token_set.refresh_expires_at is not None
            and token_set.refresh_expires_at <= self.clock()
        ):
            raise ReauthenticationRequired("The refresh token has expired.")
        if token_set.client_id != self.provider.client_id:
            raise ReauthenticationRequired("The token was issued to another client.")
        if token_set.resource != self.provider.resource:
            # A refresh cannot add a resource to the grant (RFC 8707 section 2.2).
            raise ReauthenticationRequired("The token was issued for another resource.")

    def _is_without_refresh(self, token_set: TokenSet) -> bool:
        return token_set.refresh_token is None and token_set.client_id == self.provider.client_id

    def _is_rejected(self, token_set: TokenSet) -> bool:
        return self.rejected is not None and self.rejected.access_token == token_set.access_token

    def _remaining_lifetime(self, token_set: TokenSet) -> float:
        return float("inf") if token_set.expires_at is None else token_set.expires_at - self.clock()

    def _leeway(self, token_set: TokenSet) -> float:
        """Return the configured leeway, but at most half of the token's lifetime."""
        leeway = float(self.provider.refresh_leeway)
        if token_set.expires_at is None or token_set.issued_at is None:
            return leeway
        return min(leeway, (token_set.expires_at - token_set.issued_at) / 2)


class FreshToken:
    """One call for a valid token set of one session and provider."""

    def __init__(
        self,
        services: Services,
        session: SessionStore,
        provider: str,
        rejected: TokenSet | None = None,
        *,
        needs_access: bool = True,
    ) -> None:
        self._services = services
        self._session = session
        self._name = provider
        self._rejected = rejected
        self._needs_access = needs_access
        self._repository = TokenRepository(services, session, provider)

    @cached_property
    def _remaining(self) -> RemainingAccess:
        """The user's access beside this session, which ends if they may no longer sign in."""
        return RemainingAccess.beside(self._services, self._session)

    async def get(self) -> TokenSet:
        """Return the token set. Raises the exceptions of `oauth.get_token`."""
        token_set = await self._repository.load()
        freshness = self._freshness_of(token_set)
        if freshness.is_good(token_set):
            return token_set
        lasts = freshness.lasts(token_set)
        queued = QueuedRefresh(
            token_set.grant_secret,
            (self._name, token_set.subject),
            max_wait=0 if lasts else WAIT_MAX + WORK_MAX,
            work=lambda: self._refresh_if_possible(token_set.subject, lasts),
        )
        try:
            stored: StoredTokenSet | None = await queued
        except RefreshBusy:
            if not lasts:
                raise
            return token_set
        return token_set if stored is None else self._repository.adopt(stored)

    def _freshness_of(self, token_set: TokenSet) -> Freshness:
        """Raises NotConnected or ReauthenticationRequired if the token set is nobody's here."""
        provider = provider_of(self._name, token_set)
        return Freshness(provider, self._services.clock, self._rejected, self._needs_access)

    async def _refresh_if_possible(self, subject: str, lasts: bool) -> StoredTokenSet | None:
        """Refresh the token set; the refresh is finished even if the caller is cancelled.

        Returns None if the refresh fails and the current token set ``lasts``. A person who is no
        longer allowed to sign in gets an error even then.
        """
        try:
            return await self.refresh(patient=not lasts)
        except NoLongerAllowed:
            await self._end_session(subject)
            raise
        except (ProviderUnavailable, ReauthenticationRequired, SessionFull, StoreUnavailable):
            if not lasts:
                raise
            return None

    async def refresh(self, *, patient: bool) -> StoredTokenSet:
        """Return the session's token set, after a refresh if it is not valid."""
        for _ in range(GENERATIONS):
            stored = await self._repository.load_stored()
            current = stored.token_set
            freshness = self._freshness_of(current)
            if freshness.is_good(current):
                return stored
            freshness.require_renewable(current)
            refresh = Refresh(self._services, freshness.provider, current, self._remaining)
            new = await self._find_successor(refresh, patient=patient)
            if new is None:
                continue
            try:
                saved = await self._repository.replace(current, new)
            except SessionFull:
                if refresh.is_made:
                    await ReceiverCall(self._send_refreshed)
                raise
            is_made = refresh.is_made and saved.token_set.grant_secret == new.grant_secret
            if is_made:
                await refresh.shorten_result(new)
                await ReceiverCall(self._send_refreshed)
            if is_made or self._freshness_of(saved.token_set).is_good(saved.token_set):
                return saved
        raise ProviderUnavailable("The provider's tokens expire as soon as they are issued.")

    async def _find_successor(self, refresh: Refresh, *, patient: bool) -> TokenSet | None:
        """Return the successor of a token set; None if the session's token set has changed."""
        successor = await refresh.find(patient=patient)
        if successor is not None:
            return successor
        try:
            # The lease was claimed only now: another process may have refreshed before that.
            current = await self._repository.load_stored()
            if current.token_set.grant_secret != refresh.held.grant_secret:
                return None
            return await refresh.perform()
        finally:
            await refresh.give_up()

    async def _end_session(self, subject: str) -> None:
        """End the session of an account that is no longer allowed to sign in."""
        remaining = self._remaining
        others = await self._repository.end(subject)
        if others is None:
            return
        for name, token_set in others.items():
            revoke_soon(self._services, name, token_set, remaining)
        await ReceiverCall(self._send_rejected, (subject,))

    def _send_rejected(self, subject: str) -> None:
        account_refused.send(sender=None, provider=self._name, subject=subject)

    def _send_refreshed(self) -> None:
        key = self._session.session_key
        short_id = id_of(key)[:SHORT_ID] if key else None
        token_refreshed.send_robust(sender=None, provider=self._name, session=short_id)
