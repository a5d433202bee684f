"""Where token sets are kept: in the session, one top-level key for each provider.

One key each, so that two requests that change the tokens of two providers do not
meet. No other place may hold a token.
"""

import logging

from django.contrib.sessions.backends.base import SessionBase

from oauth.tokens import TokenSet

logger = logging.getLogger(__name__)

PREFIX = "oauth:"


def session_key(provider: str) -> str:
    """Return the session's key for a provider."""
    return PREFIX + provider


def load(session: SessionBase, provider: str) -> TokenSet | None:
    """Return the token set held for a provider; None where there is none that can be read."""
    data = session.get(session_key(provider))
    if data is None:
        return None
    try:
        return TokenSet.from_session(data)
    except ValueError:
        logger.warning("The session holds an unreadable token set for %s.", provider)
        return None


def store(session: SessionBase, provider: str, token_set: TokenSet) -> None:
    """Hold a token set for a provider, in place of an earlier one."""
    session[session_key(provider)] = token_set.to_session()


def drop(session: SessionBase, provider: str) -> None:
    """Hold nothing for a provider."""
    session.pop(session_key(provider), None)
