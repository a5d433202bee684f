"""Scopes that a connected MCP server demanded in a 403, until the person connects it again.

They are kept in the session, so that the page can name them and the next connection requests them
(MCP Authorization, "Step-Up Authorization Flow"). A server may demand more each time: only a few
are kept, and after CONNECTS_MAX such connections in an hour its response is passed on as it is.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.sessions.backends.base import SessionBase, UpdateError

from oauth.tokens.vault import SessionWrite
from sessions_kms import SessionStore

PREFIX = "oauth_wanted:"  # one session key for each server, as with the token sets
SCOPES_MAX = 20
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")  # RFC 6749 section 3.3
CONNECTS_MAX = 2
HOUR = 3600  # seconds


@dataclass(frozen=True)
class WantedScopes:
    """The scopes that were demanded, and the times of the connections that requested them.

    ``is_due`` is True from a demand until the next connection.
    """

    scopes: tuple[str, ...] = ()
    is_due: bool = False
    connected_at: tuple[int, ...] = ()

    def with_more(self, scopes: Iterable[str]) -> "WantedScopes":
        """Return a copy with scopes that were demanded now; keeps SCOPES_MAX."""
        valid = (each for each in scopes if SCOPE.fullmatch(each))
        found = tuple(dict.fromkeys((*self.scopes, *valid)))[:SCOPES_MAX]
        return replace(self, scopes=found, is_due=True)

    def connected(self, now: int) -> "WantedScopes":
        """Return a copy after a connection."""
        if not self.is_due:
            return self
        return replace(self, is_due=False, connected_at=(*self.connected_at, now)[-CONNECTS_MAX:])

    def is_exhausted(self, now: float) -> bool:
        """Return True if connecting again has been tried often enough."""
        recent = [each for each in self.connected_at if abs(now - each) < HOUR]
        return len(recent) >= CONNECTS_MAX


def load_wanted(session: SessionBase, server: str) -> WantedScopes:
    """Return what a server demanded of a session."""
    return _parse(session.get(PREFIX + server))


def store_wanted(session: SessionBase, server: str, wanted: WantedScopes) -> None:
    """Store what a server demanded of a session."""
    session[PREFIX + server] = {
        "scopes": list(wanted.scopes),
        "is_due": wanted.is_due,
        "connected_at": list(wanted.connected_at),
    }


def drop_wanted(session: SessionBase, server: str) -> None:
    """Forget what a server demanded of a session."""
    session.pop(PREFIX + server, None)


async def demand_scopes(
    session: SessionStore, server: str, scopes: Iterable[str], now: float
) -> bool:
    """Store demanded scopes in the stored session; return False if that would lead nowhere.

    The request's own session object stays as it is. Raises SessionFull and StoreUnavailable.
    """
    key = session.session_key
    if key is None:
        return False
    stored = type(session)(key)
    held = _parse(await stored.aget(PREFIX + server))
    if held.is_exhausted(now):
        return False
    wanted = held.with_more(scopes)
    if wanted != held:
        store_wanted(stored, server, wanted)
        with suppress(UpdateError):  # The session has ended: the next call is rejected.
            await SessionWrite(stored, "save")
    return True


def _parse(data: Any) -> WantedScopes:
    if not isinstance(data, dict):
        return WantedScopes()
    return WantedScopes(
        tuple(data.get("scopes", ())),
        data.get("is_due") is True,
        tuple(data.get("connected_at", ())),
    )
