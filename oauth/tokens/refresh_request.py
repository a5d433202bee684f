"""Requests the successor of a token set from the provider (RFC 6749 section 6).

This spends the refresh token, so the caller must hold its lease. Does not depend on sessions.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oauth.admission import decision
from oauth.codes import Code
from oauth.exceptions import OAuthError, ProviderUnavailable, SignInRefused
from oauth.network.responses import ProviderResponse
from oauth.provider import dpop, metadata, token_endpoint
from oauth.provider import id_token as id_tokens
from oauth.provider.config import MCP_KIND, ProviderConfig
from oauth.provider.id_token import InvalidIdToken, MisdirectedIdToken, UnreadableIdToken
from oauth.provider.token_set import MalformedTokens, TokenSet, TokensTooLarge
from oauth.tokens.providers import is_self_registered, with_credentials
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

# The grant has ended, or the person has to sign in: RFC 6749 section 5.2, OpenID Connect Core
# section 3.1.2.6, and GitHub's own code `bad_refresh_token`.
FATAL = frozenset(
    {
        "bad_refresh_token",
        "consent_required",
        "interaction_required",
        "invalid_grant",
        "login_required",
    }
)
INVALID_CLIENT = "invalid_client"
INVALID_TARGET = "invalid_target"  # RFC 8707 section 2
# Errors in this gateway's configuration. Signing in again does not help.
CONFIGURATION = frozenset(
    {
        "incorrect_client_credentials",
        INVALID_CLIENT,
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
# RFC 9449 sections 5 and 8: the provider's clock or nonce differs from the proof's.
PROOF = frozenset({"invalid_dpop_proof", "use_dpop_nonce"})
# Seconds. This is long because a slow provider may have spent the refresh token already: after a
# timeout the successor would be lost.
REFRESH_TIMEOUT = 24.0
NOT_ALLOWED = "not_allowed"
TOKENS_TOO_LARGE = "tokens_too_large"
LOST_SHOWN = 20  # scopes in a line of the log


class GrantRefused(OAuthError):
    """The grant is not refreshed any more; ``reason`` is a fixed word.

    ``unused`` is the successor of a person who may no longer sign in: nobody will use it.
    """

    def __init__(self, reason: str, unused: TokenSet | None = None) -> None:
        super().__init__("The provider refuses to refresh this grant.")
        self.reason = reason
        self.unused = unused


def request_refresh(services: Services, provider: ProviderConfig, token_set: TokenSet) -> TokenSet:
    """Return the successor of a token set that has a refresh token.

    Raises GrantRefused, or ProviderUnavailable if the provider cannot be reached, is overloaded,
    sends an invalid response, or does not accept this gateway as its client.
    """
    __traceback_hide__ = True
    now = int(services.clock())
    provider_metadata = metadata.load_metadata(provider, anonymous=False)
    provider = with_credentials(provider, token_set)
    form = {"grant_type": "refresh_token", "refresh_token": token_set.refresh_token or ""}
    key = _dpop_key_for(provider, token_set)
    response = token_endpoint.request_tokens(
        provider,
        provider_metadata,
        form,
        clock=services.clock,
        dpop_key=key,
        timeout=REFRESH_TIMEOUT,
    )
    new = _read_response(provider, token_set, response, key, now)
    new = _check_id_token(provider, token_set, new, provider_metadata.issuer, now)
    if new.is_too_large:
        raise _too_large(provider)
    _log_lost_scope(provider, token_set, new)
    return _check_admission(provider, token_set, new)


def _dpop_key_for(provider: ProviderConfig, token_set: TokenSet) -> str | None:
    """Return the DPoP key of the tokens; a new one if they have none but the settings require DPoP.

    A confidential client's refresh token is bound to the client, not to a key (RFC 9449 section 5).
    So a refresh token from before DPoP was switched on can get tokens that are bound to a key.
    """
    if token_set.dpop_key is None and provider.dpop:
        return dpop.new_dpop_key()
    return token_set.dpop_key


def _read_response(
    provider: ProviderConfig, old: TokenSet, response: ProviderResponse, key: str | None, now: int
) -> TokenSet:
    __traceback_hide__ = True
    if response.is_overloaded:
        raise ProviderUnavailable("The provider cannot refresh a token now.")
    content = response.parse()
    error = content.get("error")
    if error is not None:
        raise _make_error(provider, old, error if isinstance(error, str) else "")
    if response.status != 200:
        raise ProviderUnavailable("The provider's response has another status than 200.")
    try:
        new = old.refreshed(content, now=now, source=provider.name, dpop_key=key)
    except TokensTooLarge:
        raise _too_large(provider) from None
    except MalformedTokens as exc:
        raise ProviderUnavailable(str(exc)) from None
    if key is not None and not dpop.is_dpop_bound(new.token_type):
        raise ProviderUnavailable(dpop.NOT_BOUND)
    return new


def _make_error(provider: ProviderConfig, old: TokenSet, error: str) -> OAuthError:
    if error in FATAL or (error == INVALID_CLIENT and is_self_registered(provider, old)):
        return GrantRefused(error)
    if error in PROOF:
        logger.error(
            "%s does not accept the proof of the tokens' key (%s): compare its clock with this "
            "machine's.",
            provider.name,
            error,
        )
    if error in CONFIGURATION:
        logger.error(
            "%s does not accept this gateway as its client (%s): check the client id, its "
            "secret or key, and how it authenticates.",
            provider.name,
            error,
        )
    if error == INVALID_TARGET:
        logger.error(
            "%s refreshes no tokens for the resource (invalid_target): check the "
            "UPSTREAM_<NAME>_RESOURCE of its upstreams.",
            provider.name,
        )
    return ProviderUnavailable("The provider cannot refresh a token now.")


def _check_id_token(
    provider: ProviderConfig, old: TokenSet, new: TokenSet, issuer: str | None, now: int
) -> TokenSet:
    """Reject an id token of another issuer, subject or client (OpenID Connect Core 12.2).

    An id token with another fault is replaced by the old one. The rest of the response is still
    used, since the refresh token is already spent.
    """
    __traceback_hide__ = True
    if issuer is None or provider.kind == MCP_KIND:  # It cannot be validated, or is not used.
        return replace(new, id_token=old.id_token)
    if new.id_token is None or new.id_token == old.id_token:
        return new
    before = id_tokens.decode_stored_claims(old.id_token) or {"iss": issuer, "sub": old.subject}
    fault = _find_fault(new, before, old.client_id, now)
    if fault is None:
        return new
    if isinstance(fault, UnreadableIdToken):
        raise ProviderUnavailable(str(fault))
    if isinstance(fault, MisdirectedIdToken):
        logger.error("%s refreshed a grant with the id token of another.", provider.name)
        raise GrantRefused("another_grant")
    logger.error("An id token of %s was left out of a refresh: %s", provider.name, fault)
    return replace(new, id_token=old.id_token)


def _too_large(provider: ProviderConfig) -> GrantRefused:
    """Log tokens that are too large; the page of the next sign-in or connection says so too."""
    logger.error("%s refreshed a grant, but its tokens are too large.", provider.name)
    return GrantRefused(TOKENS_TOO_LARGE)


def _check_admission(provider: ProviderConfig, old: TokenSet, new: TokenSet) -> TokenSet:
    """Return the new token set with its groups, if the person is still allowed to sign in."""
    __traceback_hide__ = True
    try:
        return decision.admit_refresh(provider, old, new)
    except SignInRefused as exc:
        reason = exc.reason
    logger.warning("%s told at a refresh that somebody may not sign in: %s.", provider.name, reason)
    raise GrantRefused(NOT_ALLOWED, new)


def _find_fault(
    new: TokenSet, before: Mapping[str, Any], client_id: str, now: int
) -> InvalidIdToken | None:
    __traceback_hide__ = True
    try:
        if not _is_same_grant(id_tokens.decode_claims(new.id_token), before):
            return MisdirectedIdToken("The id token is of another grant.", Code.ID_TOKEN_SUBJECT)
        id_tokens.verify_id_token(
            new.id_token,
            issuer=str(before.get("iss")),
            client_id=client_id,
            access_token=new.access_token,
            now=now,
        )
    except InvalidIdToken as exc:
        return exc.with_traceback(None)
    return None


def _is_same_grant(claims: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Compare issuer, subject and nonce; after a refresh the id token may lack the nonce."""
    same = all(claims.get(name) == before.get(name) for name in ("iss", "sub"))
    return same and claims.get("nonce") in (None, before.get("nonce"))


def _log_lost_scope(provider: ProviderConfig, old: TokenSet, new: TokenSet) -> None:
    lost = sorted(set(old.scope) - set(new.scope))
    shown, more = lost[:LOST_SHOWN], len(lost) - LOST_SHOWN
    if lost:
        logger.warning(
            "%s granted less at a refresh than before: %r%s is gone.",
            provider.name,
            shown,
            f" and {more} more" if more > 0 else "",
        )
