"""Where token sets are kept: in the session, one top-level key for each provider.

One key each, so that two requests that change the tokens of two providers do not
meet. No other place may hold a token, but for a lease's sealed result
(`oauth.provider.refresh_lease`).
"""

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from oauth.provider.token_set import TokenSet
from sessions_kms import SessionStore

logger = logging.getLogger(__name__)

PREFIX = "oauth:"
METHODS = "account_authentication_methods"  # where allauth notes with what a session was begun


def session_key(provider: str) -> str:
    """Return the session's key for a provider."""
    return PREFIX + provider


def stored_providers(session: SessionBase) -> list[str]:
    """Return the providers that the session has an entry for."""
    return [key.removeprefix(PREFIX) for key in session.keys() if key.startswith(PREFIX)]  # noqa: SIM118 - a session is no dict


def load_token_set(session: SessionBase | Mapping[str, Any], provider: str) -> TokenSet | None:
    """Return the token set held for a provider; None where there is none that can be read."""
    __traceback_hide__ = True
    return parse_token_set(session.get(session_key(provider)), provider)


def other_token_sets(session: SessionBase, provider: str) -> dict[str, TokenSet]:
    """Return the token sets held for other providers, by their names."""
    held = {
        name: load_token_set(session, name)
        for name in stored_providers(session)
        if name != provider
    }
    return {name: token_set for name, token_set in held.items() if token_set is not None}


def parse_token_set(data: object, provider: str) -> TokenSet | None:
    """Read what a session holds for a provider; None where it cannot be read."""
    __traceback_hide__ = True
    if data is None:
        return None
    try:
        return TokenSet.from_session(data)
    except ValueError:
        logger.warning("The session holds an unreadable token set for %s.", provider)
        return None


def store_token_set(session: SessionBase, provider: str, token_set: TokenSet) -> None:
    """Hold a token set for a provider, in place of an earlier one."""
    session[session_key(provider)] = token_set.to_session()


def drop_token_set(session: SessionBase, provider: str) -> None:
    """Hold nothing for a provider."""
    session.pop(session_key(provider), None)


def is_signed_in_with(session: SessionBase, provider: str, subject: str) -> bool:
    """Tell whether the session was begun with this account, rather than connected to it."""
    records = session.get(METHODS)
    return any(
        (record.get("provider"), record.get("uid")) == (provider, subject)
        for record in (records if isinstance(records, list) else [])
        if isinstance(record, dict)
    )


def adopt_stored(session: SessionBase, stored: SessionBase, provider: str) -> None:
    """Hold the token set that another object of the same session has stored or loaded.

    It is no change of this request: saved again an hour later, at the end of a long
    one, it would put an old set in the place of its successor. Raises UpdateError when
    the session is another person's by now.
    """
    if session is stored:
        return
    if isinstance(session, SessionStore) and isinstance(stored, SessionStore):
        session.catch_up(stored)
    elif (held := load_token_set(stored, provider)) is not None:
        store_token_set(session, provider, held)
