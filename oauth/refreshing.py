"""One refresh at the provider (RFC 6749 section 6): a token set enters, its successor leaves.

Knows nothing of sessions and leases. It spends the refresh token: whoever calls it
must be the only one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import jwt

from oauth import endpoints
from oauth.exceptions import OAuthError, ProviderUnavailable
from oauth.http import Answer
from oauth.providers import Provider
from oauth.tokens import TokenSet

logger = logging.getLogger(__name__)

# The grant is gone, or the person is asked for: RFC 6749 section 5.2, OpenID Connect Core
# section 3.1.2.6, and GitHub's own word for the first.
FATAL = frozenset(
    {
        "bad_refresh_token",
        "consent_required",
        "interaction_required",
        "invalid_grant",
        "login_required",
    }
)
# This gateway's own mistakes. The person cannot mend them by signing in again.
CONFIGURATION = frozenset(
    {
        "incorrect_client_credentials",
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
# Seconds. A provider that is only slow may have spent the refresh token by the time that it is
# given up: its answer is worth waiting for.
PATIENCE = 24.0
ANOTHER_GRANT = "another_grant"


class GrantRefused(OAuthError):
    """The provider will not refresh this grant any more; ``reason`` is a fixed word."""

    def __init__(self, reason: str) -> None:
        super().__init__("The provider refuses to refresh this grant.")
        self.reason = reason


def refresh(provider: Provider, token_set: TokenSet, *, now: int) -> TokenSet:
    """Return the successor of a token set that has a refresh token.

    Raises GrantRefused, or ProviderUnavailable when the provider cannot be asked, is
    overloaded, talks nonsense, or does not accept this gateway as its client.
    """
    __traceback_hide__ = True
    found = endpoints.metadata(provider)
    form = {"grant_type": "refresh_token", "refresh_token": token_set.refresh_token or ""}
    answer = endpoints.ask_token_endpoint(provider, found, form, patience=PATIENCE)
    new = _read(provider, token_set, answer, now)
    _check_id_token(provider, token_set, new, found.issuer)
    _notice_less_scope(provider, token_set, new)
    return new


def _read(provider: Provider, old: TokenSet, answer: Answer, now: int) -> TokenSet:
    __traceback_hide__ = True
    if answer.is_overloaded:
        raise ProviderUnavailable("The provider cannot refresh a token now.")
    content = answer.content()
    error = content.get("error")
    if error is not None:
        raise _refusal(provider, error if isinstance(error, str) else "")
    if answer.status != 200:
        raise ProviderUnavailable("The provider's answer cannot be read.")
    try:
        return old.refreshed(content, now=now)
    except ValueError:
        pass
    raise ProviderUnavailable("The provider's answer cannot be read.")


def _refusal(provider: Provider, error: str) -> OAuthError:
    if error in FATAL:
        return GrantRefused(error)
    if error in CONFIGURATION:
        logger.error(
            "%s does not accept this gateway as its client (%s): check the client id, its "
            "secret or key, and how it authenticates.",
            provider.name,
            error,
        )
    return ProviderUnavailable("The provider cannot refresh a token now.")


def _check_id_token(provider: Provider, old: TokenSet, new: TokenSet, issuer: str | None) -> None:
    """Accept an id token of the same issuer, subject and client only (OpenID Connect Core 12.2).

    Its signature need not be checked: it comes from the token endpoint (Core 3.1.3.7).
    """
    __traceback_hide__ = True
    if issuer is None or new.id_token is None or new.id_token == old.id_token:
        return
    claims = _claims(new.id_token)
    if claims is None:
        raise ProviderUnavailable("The provider's answer cannot be read.")
    before = _claims(old.id_token or "") or {"iss": issuer, "sub": old.subject}
    same = all(claims.get(name) == before.get(name) for name in ("iss", "sub"))
    if same and old.client_id in _audience(claims):
        return
    logger.error("%s refreshed a grant with the id token of another.", provider.name)
    raise GrantRefused(ANOTHER_GRANT)


def _claims(id_token: str) -> dict[str, Any] | None:
    __traceback_hide__ = True
    try:
        return jwt.decode(id_token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None


def _audience(claims: Mapping[str, Any]) -> list[object]:
    named = claims.get("aud")
    return named if isinstance(named, list) else [named]


def _notice_less_scope(provider: Provider, old: TokenSet, new: TokenSet) -> None:
    lost = sorted(set(old.scope) - set(new.scope))
    if lost:
        logger.warning("%s granted less at a refresh than before: %r is gone.", provider.name, lost)
