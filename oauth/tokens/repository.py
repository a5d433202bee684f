"""The token set that a session has for a provider: read, replaced and ended as it is stored.

Every change is made by a session object of its own and saved at once: whatever else the request
changed is saved separately, and may be undone by an error. Knows nothing of clocks, of providers'
responses and of who waits for whom. An operator may have ended the grants given until some moment
(`end_sessions --provider`): their sessions stay, and their people must consent again.
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
    """Tell whether a token set is of a grant that an operator ended. Raises StoreUnavailable."""
    return _is_ended_by(await services.not_before_of(provider).moment(), held)


def unless_ended(services: Services, provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless its grant was ended.

    Raises StoreUnavailable, and SynchronousOnlyOperation where an event loop would have to wait.
    """
    __traceback_hide__ = True
    if held is None:
        return None
    moments = services.not_before_of(provider)
    if (until := moments.cached()) is None:
        _require_thread()
        until = run_sync(moments.moment())
    return None if _is_ended_by(until, held) else held


@async_unsafe("Which grants were ended has to be read: use oauth.aunless_ended in an async view.")
def _require_thread() -> None:
    """Raise SynchronousOnlyOperation in an event loop."""


def _is_ended_by(until: int, held: TokenSet) -> bool:
    return until > 0 and held.granted_at <= until


@dataclass(frozen=True)
class SessionCall(Wait):
    """A method of a session that waits for the store; Django gives each an async twin."""

    session: SessionBase = field(repr=False)
    method: Literal["get", "save", "flush"]
    args: tuple[Any, ...] = ()

    def block(self) -> Any:
        """Call it in this thread."""
        return getattr(self.session, self.method)(*self.args)

    async def suspend(self) -> Any:
        """Await its twin."""
        return await getattr(self.session, f"a{self.method}")(*self.args)


@dataclass(frozen=True)
class StoredTokenSet:
    """A token set, and the session as it was stored with it."""

    token_set: TokenSet
    session: SessionBase = field(repr=False)


class TokenRepository:
    """One session's token set of one provider. What waits for the store raises StoreUnavailable."""

    def __init__(self, services: Services, session: SessionBase, provider: str) -> None:
        self._services = services
        self._session = session
        self._provider = provider

    async def load(self) -> TokenSet:
        """Return what the request's own session holds. Raises as `load_stored` does."""
        return await self._require(self._session)

    async def load_stored(self) -> StoredTokenSet:
        """Return what the session holds as it is stored now.

        Raises NotConnected for nothing, ReauthenticationRequired for a grant that was ended.
        """
        session = self._reload()
        return StoredTokenSet(await self._require(session), session)

    async def replace(self, old: TokenSet, new: TokenSet) -> StoredTokenSet:
        """Put a token set in the place of another one, and return what is stored then.

        That is the new one, unless a sign-in came between. Raises NotConnected when the session
        or the connection has ended meanwhile.
        """
        session = self._reload()
        held = await self._find(session)
        if held is not None and held.grant_secret == old.grant_secret:
            vault.store_token_set(session, self._provider, new)
            held = await self._save(session)
        if held is None:
            logger.warning(
                "A session ended, or changed its key, while its token of %s was refreshed. A "
                "holder of the old token set finds the new one for some time.",
                self._provider,
            )
            raise NotConnected("The session or the connection has ended meanwhile.")
        return StoredTokenSet(held, session)

    async def end(self, subject: str) -> dict[str, TokenSet] | None:
        """End a session that was begun with this account, and return what else it held.

        One that was begun with another account loses the connection only. None where there was
        nothing to end.
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
        """Have the request's own session go on from what is stored. Raises NotConnected.

        Not done where the refresh is: what else the request does to its session goes on
        meanwhile.
        """
        try:
            vault.adopt_stored(self._session, stored.session, self._provider)
        except UpdateError:
            raise NotConnected("The session is another person's by now.") from None
        return stored.token_set

    async def _require(self, session: SessionBase) -> TokenSet:
        held = await self._find(session)
        if held is None:
            raise NotConnected("The session holds no token of this provider.")
        if await is_ended(self._services, self._provider, held):
            raise ReauthenticationRequired("An operator ended the grants of that time.")
        return held

    async def _find(self, session: SessionBase) -> TokenSet | None:
        key = vault.session_key(self._provider)
        # One that is loaded has nothing to wait for, which is so of nearly every call.
        is_loaded = hasattr(session, "_session_cache")
        data = session.get(key) if is_loaded else await SessionCall(session, "get", (key,))
        return vault.parse_token_set(data, self._provider)

    async def _save(self, session: SessionBase) -> TokenSet | None:
        """Save, and return what is held afterwards: another request may have dropped it."""
        if session is not self._session:
            try:
                await SessionCall(session, "save")
            except UpdateError:
                return None
        return vault.load_token_set(session, self._provider)

    def _reload(self) -> SessionBase:
        """Return the session as it is stored now; one that is not stored yet is itself."""
        key = self._session.session_key
        return self._session if key is None else type(self._session)(key)
