"""Loads, replaces and removes the token set that a session has for a provider.

Every change uses a separate session object and is saved immediately. The request's other changes
are saved separately, at its end, and an error of the view discards them. An operator may have ended
all grants that were given before a certain time (`end_sessions --provider`): the sessions continue,
but the people have to consent again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Literal

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils.asyncio import async_unsafe

from oauth.exceptions import NotConnected, ReauthenticationRequired
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms.concurrency.waits import Wait, run_sync
from sessions_kms.services import Services

logger = logging.getLogger(__name__)


async def is_ended(services: Services, provider: str, held: TokenSet) -> bool:
    """Return True if an operator ended the grant of a token set. Raises StoreUnavailable."""
    return _is_ended_by(await services.not_before_of(provider).moment(), held)


def unless_ended(services: Services, provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return the token set, or None if an operator ended its grant.

    Raises StoreUnavailable, and SynchronousOnlyOperation if it would block an event loop.
    """
    __traceback_hide__ = True
    if held is None:
        return None
    moments = services.not_before_of(provider)
    if (cutoff := moments.cached()) is None:
        _require_thread()
        cutoff = run_sync(moments.moment())
    return None if _is_ended_by(cutoff, held) else held


@async_unsafe("Which grants were ended has to be read: use oauth.aunless_ended in an async view.")
def _require_thread() -> None:
    """Raise SynchronousOnlyOperation in an event loop."""


def _is_ended_by(until: int, held: TokenSet) -> bool:
    return until > 0 and held.granted_at <= until


@dataclass(frozen=True)
class SessionCall(Wait):
    """A call of a session method that does I/O and has an async variant in Django."""

    session: SessionBase = field(repr=False)
    method: Literal["get", "save", "flush"]
    args: tuple[Any, ...] = ()

    def block(self) -> Any:
        """Call the method in this thread."""
        return getattr(self.session, self.method)(*self.args)

    async def suspend(self) -> Any:
        """Await the async variant."""
        return await getattr(self.session, f"a{self.method}")(*self.args)


@dataclass(frozen=True)
class StoredTokenSet:
    """A token set and the session object that loaded or saved it."""

    token_set: TokenSet
    session: SessionBase = field(repr=False)


class TokenRepository:
    """One session's token set of one provider. All coroutines raise StoreUnavailable."""

    def __init__(self, services: Services, session: SessionBase, provider: str) -> None:
        self._services = services
        self._session = session
        self._provider = provider

    async def load(self) -> TokenSet:
        """Return the token set of the request's own session. Raises the errors of `load_stored`."""
        return await self._require(self._session)

    async def load_stored(self) -> StoredTokenSet:
        """Return the token set that is stored now.

        Raises NotConnected if there is none, and ReauthenticationRequired if an operator ended its
        grant.
        """
        session = self._reload()
        return StoredTokenSet(await self._require(session), session)

    async def replace(self, old: TokenSet, new: TokenSet) -> StoredTokenSet:
        """Replace a token set and return the one that is stored afterwards.

        That is ``new``, unless another sign-in has replaced ``old`` meanwhile. Raises NotConnected
        if the session or the connection has ended.
        """
        session = self._reload()
        current = await self._find(session)
        if current is not None and current.grant_secret == old.grant_secret:
            vault.store_token_set(session, self._provider, new)
            current = await self._save(session)
        if current is None:
            logger.warning(
                "A session ended, or changed its key, while its token of %s was refreshed. A "
                "holder of the old token set finds the new one for some time.",
                self._provider,
            )
            raise NotConnected("The session or the connection has ended meanwhile.")
        return StoredTokenSet(current, session)

    async def end(self, subject: str) -> dict[str, TokenSet] | None:
        """End the session if its sign-in was with this account; return its other token sets.

        If the sign-in was with another account, only remove this token set. Returns None if the
        session has no token set of this provider.
        """
        session = self._reload()
        if await self._find(session) is None:
            return None
        if vault.is_signed_in_with(session, self._provider, subject):
            others = vault.other_token_sets(session, self._provider)
            await SessionCall(session, "flush")
            return others
        vault.drop_token_set(session, self._provider)
        await self._save(session)
        return {}

    def adopt(self, stored: StoredTokenSet) -> TokenSet:
        """Update the request's own session from the stored one. Raises NotConnected.

        This is separate from the refresh, because the request may change its session while the
        refresh runs.
        """
        try:
            vault.adopt_stored(self._session, stored.session, self._provider)
        except UpdateError:
            raise NotConnected("The session is another person's by now.") from None
        return stored.token_set

    async def _require(self, session: SessionBase) -> TokenSet:
        token_set = await self._find(session)
        if token_set is None:
            raise NotConnected("The session holds no token of this provider.")
        if await is_ended(self._services, self._provider, token_set):
            raise ReauthenticationRequired("An operator ended the grants of that time.")
        return token_set

    async def _find(self, session: SessionBase) -> TokenSet | None:
        key = vault.session_key(self._provider)
        # A loaded session needs no I/O, which is the case in nearly every call.
        is_loaded = hasattr(session, "_session_cache")
        data = session.get(key) if is_loaded else await SessionCall(session, "get", (key,))
        return vault.parse_token_set(data, self._provider)

    async def _save(self, session: SessionBase) -> TokenSet | None:
        """Save, and return the token set that is stored then; None if it was removed meanwhile."""
        if session is not self._session:
            try:
                await SessionCall(session, "save")
            except UpdateError:
                return None
        return vault.load_token_set(session, self._provider)

    def _reload(self) -> SessionBase:
        """Return a new object for the stored session; the request's own if it is not stored yet."""
        key = self._session.session_key
        return self._session if key is None else type(self._session)(key)
