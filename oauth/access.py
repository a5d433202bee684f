"""`get_token`: the one call for applications, and its async twin.

A request and a provider's name enter, a token set that is good for a while leaves,
refreshed if need be and then saved in the session at once: a view that fails
afterwards answers 5xx, and Django saves no session then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import DatabaseError
from django.http import HttpRequest
from django.utils.asyncio import async_unsafe

from oauth.exceptions import (
    NoLongerAllowed,
    NotConnected,
    OAuthError,
    ProviderUnavailable,
    ReauthenticationRequired,
)
from oauth.network.sql_connections import give_back
from oauth.provider import config as providers
from oauth.provider.revocation import revoke_soon
from oauth.provider.token_set import TokenSet
from oauth.signals import token_refreshed
from oauth.tokens import ended_grants as grants
from oauth.tokens import vault as tokens
from oauth.tokens.refresh_coordinator import WAIT_MAX, WORK_MAX, Renewal
from oauth.tokens.turns import Busy, Turns, in_turn, is_underway
from sessions_kms import SHORT_ID, StoreUnavailable, id_of
from sessions_kms.services import services

logger = logging.getLogger(__name__)

REFUSED_AGE = 30  # seconds; a younger token that an upstream refuses is not refreshed for that
GENERATIONS = 5  # of token sets that one call passes through


@async_unsafe("The token may have to be refreshed: use oauth.aget_token in an async view.")
def get_token(request: HttpRequest, provider: str, refused: TokenSet | None = None) -> TokenSet:
    """Return a token set of the signed-in person, good for longer than the leeway.

    ``refused`` is one that an upstream answered 401 to: it is refreshed though it has
    not expired, unless another request did so already or it is younger than half a
    minute; then the upstream has another reason, and the same set comes back.

    While a refresh fails or another request is at it, a token that has not expired
    yet is returned. Raises NotConnected, ReauthenticationRequired,
    ProviderUnavailable, and `sessions_kms.exceptions.StoreUnavailable`. NoLongerAllowed is
    raised when the session has been ended, since its person may not sign in any more.
    """
    access = _Access(request.session, provider, refused)
    held = access.required(tokens.load(request.session, provider), grants.ended_until(provider))
    return held if access.is_good(held) else access.adopted(access.renewed(held))


async def aget_token(
    request: HttpRequest, provider: str, refused: TokenSet | None = None
) -> TokenSet:
    """Do what `get_token` does, without blocking the event loop.

    A refresh that has begun is finished even if the caller is cancelled.
    """
    access = _Access(request.session, provider, refused)
    data = await request.session.aget(tokens.session_key(provider))
    held = access.required(tokens.read(data, provider), await grants.aended_until(provider))
    if access.is_good(held) or (access.lasts(held) and is_underway(held.grant_secret)):
        return held
    found = await in_turn(held.grant_secret, provider, lambda: access.renewed(held))
    return access.adopted(found)


def needs_consent(request: HttpRequest, provider: str) -> bool:
    """Tell whether more scope is configured than the person was asked for, or granted.

    What was asked for and not granted is no reason to ask again: many providers name
    a scope otherwise than it was asked for, or leave it out.
    """
    held = tokens.load(request.session, provider)
    configured = providers.provider(provider)
    if held is None or configured is None:
        return False
    return not set(configured.scope) <= {*held.requested_scope, *held.scope}


@dataclass(frozen=True)
class _Found:
    """A good token set, and the session as it was stored with it; None where it did not change."""

    token_set: TokenSet
    stored: SessionBase | None = None


class _Access:
    """One session's way to the tokens of one provider."""

    def __init__(self, session: SessionBase, name: str, refused: TokenSet | None) -> None:
        configured = providers.provider(name)
        if configured is None:
            raise NotConnected("There is no such provider.")
        self._session = session
        self._provider = configured
        self._refused = refused
        self._clock = services().clock

    def required(self, held: TokenSet | None, ended_until: int) -> TokenSet:
        """Return what is held. Raises NotConnected for nothing, ReauthenticationRequired if ended.

        ``ended_until`` is the moment until which an operator ended the provider's grants.
        """
        if held is None:
            raise NotConnected("The session holds no token of this provider.")
        if grants.is_ended(held, ended_until):
            raise ReauthenticationRequired("An operator ended the grants of that time.")
        return held

    def is_good(self, held: TokenSet) -> bool:
        """Tell whether a token set can be handed out without a refresh."""
        now = self._clock()
        if self._is_refused(held):
            return now - (held.issued_at or 0) < REFUSED_AGE and self._left(held) > 0
        if held.refresh_token is None:
            return self._left(held) > 0
        return self._left(held) > self._leeway(held)

    def lasts(self, held: TokenSet) -> bool:
        """Tell whether a token set is at least not expired and not refused."""
        return self._left(held) > 0 and not self._is_refused(held)

    def adopted(self, found: _Found) -> TokenSet:
        """Have the request's own session go on from what is stored. Raises NotConnected.

        Not done in the thread of the refresh: what else the request does to its session
        goes on meanwhile.
        """
        if found.stored is not None:
            try:
                tokens.adopt(self._session, found.stored, self._provider.name)
            except UpdateError:
                raise NotConnected("The session is another person's by now.") from None
        return found.token_set

    def renewed(self, held: TokenSet) -> _Found:
        """Return the good token set that the session holds, or holds from now on."""
        lasts = self.lasts(held)
        give_back()  # The turn, the lease and the provider may all take long.
        patience = 0 if lasts else WAIT_MAX + WORK_MAX
        try:
            with _turns.taken(held.grant_secret, patience=patience):
                return self._renewed(patient=not lasts)
        except NoLongerAllowed:  # However long the token would last.
            self._end_of(held)
            raise
        except (Busy, ProviderUnavailable, ReauthenticationRequired) as exc:
            if lasts:
                return _Found(held)
            error = exc if isinstance(exc, OAuthError) else None
        except StoreUnavailable:
            if not lasts:
                raise
            return _Found(held)
        raise error or ProviderUnavailable("Other requests are refreshing the token.")

    def _renewed(self, *, patient: bool) -> _Found:
        renewal = Renewal(self._provider)
        for _ in range(GENERATIONS):
            stored = self._reloaded()
            held = self._required_of(stored)
            if self.is_good(held):
                return _Found(held, stored)
            self._require_renewable(held)
            found = renewal.successor(held, is_current=self._is_current(held), patient=patient)
            if found is None:
                continue
            kept = self._save(held, found.token_set)
            is_made = found.made and kept.token_set.grant_secret == found.token_set.grant_secret
            if is_made:
                renewal.saved(held)
                self._announce()
            if is_made or self.is_good(kept.token_set):
                return kept
        raise ProviderUnavailable("The provider's tokens expire as soon as they are issued.")

    def _is_current(self, held: TokenSet) -> Callable[[], bool]:
        def is_current() -> bool:
            return self._required_of(self._reloaded()).grant_secret == held.grant_secret

        return is_current

    def _required_of(self, stored: SessionBase) -> TokenSet:
        name = self._provider.name
        return self.required(tokens.load(stored, name), grants.ended_until(name))

    def _save(self, old: TokenSet, new: TokenSet) -> _Found:
        """Put the new token set in the place of the old one, in the session as it is stored.

        Return what the session holds then: the new one, unless a sign-in came between.

        This is done by a session object of its own: what else this request changed is its own
        business, and may be undone by an error. Raises NotConnected when the session
        or the connection has ended meanwhile.
        """
        name = self._provider.name
        stored = self._reloaded()
        held = tokens.load(stored, name)
        if held is not None and held.grant_secret == old.grant_secret:
            tokens.store(stored, name, new)
            held = self._kept(stored)
        if held is None:
            logger.warning(
                "A session ended, or changed its key, while its token of %s was refreshed. Who "
                "holds the old token set finds the new one for some time.",
                name,
            )
            raise NotConnected("The session or the connection has ended meanwhile.")
        return _Found(held, stored)

    def _end_of(self, held: TokenSet) -> None:
        """End the session that was begun with an account that may not sign in any more.

        One that was begun with another account loses the connection only. Raises StoreUnavailable.
        """
        stored = self._reloaded()
        if tokens.load(stored, self._provider.name) is None:
            return
        if tokens.is_signed_in_with(stored, self._provider.name, held.subject):
            others = {name: tokens.load(stored, name) for name in tokens.providers(stored)}
            stored.flush()
            for name, token_set in others.items():
                if token_set is not None and name != self._provider.name:
                    revoke_soon(name, token_set)
        else:
            tokens.drop(stored, self._provider.name)
            self._kept(stored)
        self._take_rights(held.subject)

    def _take_rights(self, subject: str) -> None:
        """Take what the groups of the account gave: its person may go on with another one."""
        # Models, which apps have to be ready for.
        from oauth.sign_in import accounts, rights  # noqa: PLC0415

        try:
            account = accounts.find(self._provider.name, subject)
            if account is not None:
                rights.settle(account, ())
        except DatabaseError as exc:
            logger.warning("Rights by groups were not taken: %s.", type(exc).__name__)
        finally:
            give_back()

    def _announce(self) -> None:
        key = self._session.session_key
        short_id = id_of(key)[:SHORT_ID] if key else None
        token_refreshed.send_robust(sender=None, provider=self._provider.name, session=short_id)

    def _kept(self, stored: SessionBase) -> TokenSet | None:
        """Save, and return what is held afterwards: another request may have dropped it."""
        if stored is not self._session:
            try:
                stored.save()
            except UpdateError:
                return None
        return tokens.load(stored, self._provider.name)

    def _reloaded(self) -> SessionBase:
        """Return the session as it is stored now; one that is not stored yet is itself."""
        key = self._session.session_key
        return self._session if key is None else type(self._session)(key)

    def _require_renewable(self, held: TokenSet) -> None:
        if held.refresh_token is None:
            raise ReauthenticationRequired("The token cannot be refreshed.")
        if held.refresh_expires_at is not None and held.refresh_expires_at <= self._clock():
            raise ReauthenticationRequired("The refresh token has expired.")
        if held.client_id != self._provider.client_id:
            raise ReauthenticationRequired("The token was issued to another client.")

    def _is_refused(self, held: TokenSet) -> bool:
        return self._refused is not None and self._refused.access_token == held.access_token

    def _left(self, held: TokenSet) -> float:
        return float("inf") if held.expires_at is None else held.expires_at - self._clock()

    def _leeway(self, held: TokenSet) -> float:
        """Return the leeway: half the life of a token that lives shorter than two leeways."""
        leeway = float(self._provider.refresh_leeway)
        if held.expires_at is None or held.issued_at is None:
            return leeway
        return min(leeway, (held.expires_at - held.issued_at) / 2)


_turns = Turns()


def _forget_turns() -> None:
    global _turns  # noqa: PLW0603 - the parent may have forked while a thread had its turn
    _turns = Turns()


os.register_at_fork(after_in_child=_forget_turns)
