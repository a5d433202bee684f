"""Stores token sets in the session, under one top-level key for each provider.

With separate keys, requests that change the tokens of different providers do not conflict. Tokens
are stored nowhere else, except in the sealed result of a lease (`oauth.provider.refresh_lease`).
"""

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from oauth.provider.token_set import TokenSet
from sessions_kms import SessionStore

logger = logging.getLogger(__name__)

PREFIX = "oauth:"
METHODS = "account_authentication_methods"  # where allauth records the methods of the sign-in


def session_key(provider: str) -> str:
    """Return the session's key for a provider."""
    return PREFIX + provider


def stored_providers(session: SessionBase) -> list[str]:
    """Return the providers that the session has an entry for."""
    return [key.removeprefix(PREFIX) for key in session.keys() if key.startswith(PREFIX)]  # noqa: SIM118 - a session is no dict


def load_token_set(session: SessionBase | Mapping[str, Any], provider: str) -> TokenSet | None:
    """Return the token set for a provider; None if there is none, or it cannot be parsed."""
    __traceback_hide__ = True
    return parse_token_set(session.get(session_key(provider)), provider)


def other_token_sets(session: SessionBase, provider: str) -> dict[str, TokenSet]:
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


def is_signed_in_with(session: SessionBase, provider: str, subject: str) -> bool:
    """Return True if the person signed in with this account, instead of connecting it later."""
    records = session.get(METHODS)
    return any(
        (record.get("provider"), record.get("uid")) == (provider, subject)
        for record in (records if isinstance(records, list) else [])
        if isinstance(record, dict)
    )


def adopt_stored(session: SessionBase, stored: SessionBase, provider: str) -> None:
    """Copy the token set from another object of the same session, which has stored or loaded it.

    This does not count as a change of ``session``. Otherwise a request that takes an hour would
    save the token set at its end and overwrite a successor. Raises UpdateError if the session now
    belongs to another person.
    """
    if session is stored:
        return
    if isinstance(session, SessionStore) and isinstance(stored, SessionStore):
        session.catch_up(stored)
    elif (token_set := load_token_set(stored, provider)) is not None:
        store_token_set(session, provider, token_set)
