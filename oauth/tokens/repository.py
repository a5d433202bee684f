"""The token set that one session has for one provider: read, replaced and ended as it is stored.

A session enters, a token set leaves, and the other way round. Every change is made by a session
object of its own and saved at once: what else the request changed is its own business, and may
be undone by an error. Knows nothing of clocks, of providers' answers and of who waits for whom.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Literal

from django.contrib.sessions.backends.base import SessionBase, UpdateError

from oauth.exceptions import NotConnected, ReauthenticationRequired
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from oauth.tokens.ended_grants import is_ended
from sessions_kms.concurrency.waits import Wait
from sessions_kms.services import Services

logger = logging.getLogger(__name__)


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
class Stored:
    """A token set, and the session as it was stored with it."""

    token_set: TokenSet
    session: SessionBase = field(repr=False)


class TokenRepository:
    """One session's token set of one provider. What waits for the store raises StoreUnavailable."""

    def __init__(self, services: Services, session: SessionBase, provider: str) -> None:
        self._services = services
        self._session = session
        self._provider = provider

    async def at_hand(self) -> TokenSet:
        """Return what the request's own session holds. Raises as `stored` does."""
        return await self._required(self._session)

    async def stored(self) -> Stored:
        """Return what the session holds as it is stored now.

        Raises NotConnected for nothing, ReauthenticationRequired for a grant that was ended.
        """
        session = self._reloaded()
        return Stored(await self._required(session), session)

    async def replaced(self, old: TokenSet, new: TokenSet) -> Stored:
        """Put a token set in the place of another one, and return what is stored then.

        That is the new one, unless a sign-in came between. Raises NotConnected when the session
        or the connection has ended meanwhile.
        """
        session = self._reloaded()
        held = await self._held(session)
        if held is not None and held.grant_secret == old.grant_secret:
            vault.store(session, self._provider, new)
            held = await self._kept(session)
        if held is None:
            logger.warning(
                "A session ended, or changed its key, while its token of %s was refreshed. Who "
                "holds the old token set finds the new one for some time.",
                self._provider,
            )
            raise NotConnected("The session or the connection has ended meanwhile.")
        return Stored(held, session)

    async def ended(self, subject: str) -> dict[str, TokenSet] | None:
        """End a session that was begun with this account, and return what else it held.

        One that was begun with another account loses the connection only. None where there was
        nothing to end.
        """
        session = self._reloaded()
        if await self._held(session) is None:
            return None
        if vault.is_signed_in_with(session, self._provider, subject):
            others = vault.others(session, self._provider)
            await SessionCall(session, "flush")
            return others
        vault.drop(session, self._provider)
        await self._kept(session)
        return {}

    def adopt(self, stored: Stored) -> TokenSet:
        """Have the request's own session go on from what is stored. Raises NotConnected.

        Not done where the refresh is: what else the request does to its session goes on
        meanwhile.
        """
        try:
            vault.adopt(self._session, stored.session, self._provider)
        except UpdateError:
            raise NotConnected("The session is another person's by now.") from None
        return stored.token_set

    async def _required(self, session: SessionBase) -> TokenSet:
        held = await self._held(session)
        if held is None:
            raise NotConnected("The session holds no token of this provider.")
        if await is_ended(self._services, self._provider, held):
            raise ReauthenticationRequired("An operator ended the grants of that time.")
        return held

    async def _held(self, session: SessionBase) -> TokenSet | None:
        key = vault.session_key(self._provider)
        # One that is loaded has nothing to wait for, which is so of nearly every call.
        is_loaded = hasattr(session, "_session_cache")
        data = session.get(key) if is_loaded else await SessionCall(session, "get", (key,))
        return vault.read(data, self._provider)

    async def _kept(self, session: SessionBase) -> TokenSet | None:
        """Save, and return what is held afterwards: another request may have dropped it."""
        if session is not self._session:
            try:
                await SessionCall(session, "save")
            except UpdateError:
                return None
        return vault.load(session, self._provider)

    def _reloaded(self) -> SessionBase:
        """Return the session as it is stored now; one that is not stored yet is itself."""
        key = self._session.session_key
        return self._session if key is None else type(self._session)(key)
