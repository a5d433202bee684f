"""Token sets in the session, under one top-level key for each provider.

With separate keys, requests that change the tokens of different providers do not conflict. Tokens
are stored nowhere else, except in the sealed result of a lease (`oauth.provider.refresh_lease`).

The functions work on a session object. `TokenRepository` works on the stored session: each change
uses a separate session object and is saved immediately. The request's other changes are saved
separately, at its end, and an error of the view discards them. An operator may have ended all
grants that were given before a certain time (`end_sessions --provider`): the sessions continue, but
the people have to consent again.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils.asyncio import async_unsafe

from oauth.exceptions import NotConnected, ReauthenticationRequired, SessionFull
from oauth.provider.token_set import TokenSet
from sessions_kms import SessionStore, SessionTooLarge
from sessions_kms.concurrency.waits import Wait, run_sync
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

PREFIX = "oauth:"
REMOVALS_MAX = 5
# Bytes of a session's token sets together, above which no sign-in takes them along: the rest of a
# session has to fit into the same item of 400 KB.
CARRIED_MAX = 390_000
METHODS = "account_authentication_methods"  # where allauth records the methods of the sign-in


def session_key(provider: str) -> str:
    """Return the session's key for a provider."""
    return PREFIX + provider


def stored_providers(session: SessionBase | Mapping[str, Any]) -> list[str]:
    """Return the providers that the session has an entry for."""
    return [key.removeprefix(PREFIX) for key in session.keys() if key.startswith(PREFIX)]  # noqa: SIM118 - a session is no dict


def load_token_set(session: SessionBase | Mapping[str, Any], provider: str) -> TokenSet | None:
    """Return the token set for a provider; None if there is none, or it cannot be parsed."""
    __traceback_hide__ = True
    return parse_token_set(session.get(session_key(provider)), provider)


def other_token_sets(
    session: SessionBase | Mapping[str, Any], provider: str
) -> dict[str, TokenSet]:
    """Return the token sets of all other providers, by the providers' names."""
    token_sets = {
        name: load_token_set(session, name)
        for name in stored_providers(session)
        if name != provider
    }
    return {name: token_set for name, token_set in token_sets.items() if token_set is not None}


def parse_token_set(data: object, provider: str) -> TokenSet | None:
    """Parse a provider's entry of the session; None if it is missing or malformed."""
    __traceback_hide__ = True
    if data is None:
        return None
    try:
        return TokenSet.from_session(data)
    except ValueError:
        logger.warning("The session holds an unreadable token set for %s.", provider)
        return None


def store_token_set(session: SessionBase, provider: str, token_set: TokenSet) -> None:
    """Store a token set for a provider; replaces an earlier one."""
    session[session_key(provider)] = token_set.to_session()


def drop_token_set(session: SessionBase, provider: str) -> None:
    """Remove the token set of a provider, if there is one."""
    session.pop(session_key(provider), None)


def largest_connection(session: SessionBase) -> str | None:
    """Return the provider or MCP server whose token set takes the most room; None without any."""
    __traceback_hide__ = True
    sizes = {
        name: len(json.dumps(session.get(session_key(name)))) for name in stored_providers(session)
    }
    return max(sizes, key=lambda name: sizes[name], default=None)


def require_room(session: SessionBase, provider: str, token_set: TokenSet) -> None:
    """Raise SessionFull if a session with this token set as well cannot be stored."""
    __traceback_hide__ = True
    stored = {
        session_key(name): session.get(session_key(name)) for name in stored_providers(session)
    }
    stored[session_key(provider)] = token_set.to_session()
    if len(json.dumps(stored)) > CARRIED_MAX:
        raise SessionFull(largest_connection(session))


@contextmanager
def naming_largest(session: SessionBase) -> Iterator[None]:
    """Raise SessionFull for SessionTooLarge of this session, and log the largest connection."""
    __traceback_hide__ = True
    try:
        yield
    except SessionTooLarge:
        largest = largest_connection(session)
    else:
        return
    logger.warning("A session is full: its largest connection is %s.", largest)
    raise SessionFull(largest)


def is_signed_in_with(session: SessionBase, provider: str, subject: str) -> bool:
    """Return True if the person signed in with this account, instead of connecting it later."""
    return (provider, subject) in _accounts_of_sign_in(session)


def account_of_sign_in(session: SessionBase) -> tuple[str, str] | None:
    """Return provider and subject of the account with which the person signed in."""
    accounts = _accounts_of_sign_in(session)
    named = [(p, s) for p, s in accounts if isinstance(p, str) and isinstance(s, str)]
    return named[0] if named else None  # later ones are of a reauthentication


def groups_of_sign_in(session: SessionBase) -> tuple[str, ...]:
    """Return the person's groups at the provider with which they signed in."""
    groups: list[str] = []
    for provider, subject in _accounts_of_sign_in(session):
        held = load_token_set(session, str(provider))
        if held is not None and held.subject == subject:
            groups += held.groups
    return tuple(dict.fromkeys(groups))


def _accounts_of_sign_in(session: SessionBase) -> list[tuple[object, object]]:
    """Return pairs of provider and subject, as allauth recorded them."""
    records = session.get(METHODS)
    return [
        (record.get("provider"), record.get("uid"))
        for record in (records if isinstance(records, list) else [])
        if isinstance(record, dict)
    ]


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
    cutoffs = services.not_before_of(provider)
    if (cutoff := cutoffs.cached()) is None:
        _require_thread()
        cutoff = run_sync(cutoffs.moment())
    return None if _is_ended_by(cutoff, held) else held


@async_unsafe("Which grants were ended has to be read: use oauth.aunless_ended in an async view.")
def _require_thread() -> None:
    """Raise SynchronousOnlyOperation in an event loop."""


def _is_ended_by(cutoff: int, held: TokenSet) -> bool:
    return 0 < cutoff >= held.granted_at


@dataclass(frozen=True)
class SessionWrite(Wait):
    """A write of a session, whose async variant finishes in a task of its own.

    Raises UpdateError, StoreUnavailable and SessionFull.
    """

    session: SessionStore = field(repr=False)
    method: Literal["save", "flush"]

    def block(self) -> None:
        """Call the method in this thread."""
        with naming_largest(self.session):
            getattr(self.session, self.method)()

    async def suspend(self) -> None:
        """Await the async variant."""
        with naming_largest(self.session):
            await getattr(self.session, f"a{self.method}")()


@dataclass(frozen=True)
class StoredTokenSet:
    """A token set and the session object that loaded or saved it."""

    token_set: TokenSet
    session: SessionStore = field(repr=False)


class TokenRepository:
    """One session's token set of one provider. All coroutines raise StoreUnavailable."""

    def __init__(self, services: Services, session: SessionStore, provider: str) -> None:
        self._cutoff = services.not_before_of(provider)
        self._session = session
        self._provider = provider

    async def load(self) -> TokenSet:
        """Return the token set of the request's own session. Raises the errors of `load_stored`."""
        return await self.require(self._session)

    async def load_stored(self) -> StoredTokenSet:
        """Return the token set that is stored now.

        Raises NotConnected if there is none, and ReauthenticationRequired if an operator ended its
        grant.
        """
        session = self._reload()
        return StoredTokenSet(await self.require(session), session)

    async def replace(self, old: TokenSet, new: TokenSet) -> StoredTokenSet:
        """Replace a token set and return the one that is stored afterwards.

        That is ``new``, unless another sign-in has replaced ``old`` meanwhile. Raises NotConnected
        if the session or the connection has ended, and SessionFull.
        """
        session = self._reload()
        current = await self._find(session)
        if current is not None and current.grant_secret == old.grant_secret:
            store_token_set(session, self._provider, new)
            current = await self._save_new(session)
        if current is None:
            logger.warning(
                "A session ended, or changed its key, while its token of %s was refreshed. A "
                "holder of the old token set finds the new one for some time.",
                self._provider,
            )
            raise NotConnected("The session or the connection has ended meanwhile.")
        return StoredTokenSet(current, session)

    async def remove(self, subject: str | None = None) -> TokenSet | None:
        """Remove the stored token set, and return exactly what was removed; None if nothing was.

        With a ``subject``, only a token set of that account is removed. A merge would also drop,
        unseen, a token set that another request has stored meanwhile. So what was stored since is
        read again, REMOVALS_MAX times: then others save all the time, and the last removal is
        merged.
        """
        for attempt in range(1, REMOVALS_MAX + 1):
            session = self._reload()
            if await session.aget(session_key(self._provider)) is None:
                break
            held = await self._find(session)
            if subject is not None and (held is None or held.subject != subject):
                break
            drop_token_set(session, self._provider)
            session.merges = attempt == REMOVALS_MAX
            try:
                await SessionWrite(session, "save")
            except UpdateError:
                continue
            with suppress(UpdateError):  # Saving the request's own session says so.
                self._session.catch_up(session)
            return held
        return None

    async def end(self, subject: str) -> dict[str, TokenSet] | None:
        """End the session if its sign-in was with this account; return its other token sets.

        If the sign-in was with another account, only remove this account's token set. Returns None
        if the session has no token set of this provider.
        """
        session = self._reload()
        if await self._find(session) is None:
            return None
        if is_signed_in_with(session, self._provider, subject):
            others = other_token_sets(session, self._provider)
            await SessionWrite(session, "flush")
            return others | other_token_sets(session.ended_content or {}, self._provider)
        await self.remove(subject)
        return {}

    def adopt(self, stored: StoredTokenSet) -> TokenSet:
        """Update the request's own session from the stored one. Raises NotConnected.

        This is separate from the refresh, because the request may change its session while the
        refresh runs. It does not count as a change of the session. Otherwise a request that takes
        an hour would save the token set at its end and overwrite a successor.
        """
        if stored.session is not self._session:
            try:
                self._session.catch_up(stored.session)
            except UpdateError:
                raise NotConnected("The session is another person's by now.") from None
        return stored.token_set

    async def require(self, session: SessionStore) -> TokenSet:
        """Return the token set of a session object. Raises the errors of `load_stored`."""
        token_set = await self._find(session)
        if token_set is None:
            raise NotConnected("The session holds no token of this provider.")
        if _is_ended_by(await self._cutoff.moment(), token_set):
            raise ReauthenticationRequired("An operator ended the grants of that time.")
        return token_set

    async def _find(self, session: SessionStore) -> TokenSet | None:
        # The coroutine runs in threads, too. A loaded session needs no I/O: nearly every call.
        return parse_token_set(await session.aget(session_key(self._provider)), self._provider)

    async def _save_new(self, session: SessionStore) -> TokenSet | None:
        """Save a refreshed token set, and return the one that is stored then.

        None if it was removed meanwhile. Raises SessionFull: its lease has it for a later call.
        """
        if session is not self._session:
            try:
                await SessionWrite(session, "save")
            except UpdateError:
                return None
            except SessionFull:
                logger.warning("A refreshed token of %s stays in its lease.", self._provider)
                raise
        return load_token_set(session, self._provider)

    def _reload(self) -> SessionStore:
        """Return a new object for the stored session; the request's own if it is not stored yet."""
        key = self._session.session_key
        return self._session if key is None else type(self._session)(key)
