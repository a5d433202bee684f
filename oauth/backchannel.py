"""`/oauth/backchannel-logout/<provider>`: a provider ends sessions after a sign-out there.

Takes a logout token from the provider's server, without a cookie; returns an empty response or an
error. The sessions end on every machine, since their records are deleted. Their tokens are not
revoked: they cannot be decrypted without the visitors' cookies, and the provider ends its grants.
"""

import logging

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from oauth.exceptions import ProviderUnavailable
from oauth.logout import logout_token, session_links
from oauth.logout.logout_token import InvalidLogoutToken, LogoutToken
from oauth.network.responses import read_posted_form
from oauth.provider import config, jwks, metadata
from oauth.provider.config import ProviderConfig
from sessions_kms import StoreUnavailable
from sessions_kms.operations import used_tokens
from sessions_kms.operations.ending import end_linked
from sessions_kms.services import services

logger = logging.getLogger(__name__)

FAILED = "A logout of %s failed: %s"
RETRY_AFTER = 10  # seconds


@csrf_exempt
@login_not_required
def backchannel_logout(request: HttpRequest, provider_id: str) -> HttpResponse:
    """End the sessions that a logout token names, by its `sid`, or else its `sub`.

    Responds as section 2.8 of OpenID Connect Back-Channel Logout 1.0 requires, with 503 if the
    provider should retry: it may after transient errors (section 2.5), but not after 400. An
    unknown key is a transient error while the set cannot be fetched again.
    """
    provider = config.find_provider(provider_id)
    if provider is None or provider.issuer is None:
        return _refusal("There is no such provider.", status=404)
    if request.method != "POST":
        return _refusal("A logout token is posted.", status=405, headers={"Allow": "POST"})
    try:
        ended = _end(_read(provider, _posted_token(request)))
    except InvalidLogoutToken as exc:
        logger.warning("A logout token for %s was refused: %s", provider.name, exc)
        return _refusal(str(exc), status=400)
    except ProviderUnavailable as exc:
        logger.warning(FAILED, provider.name, exc)
        return _not_now(exc.retry_after or RETRY_AFTER)
    except StoreUnavailable as exc:
        logger.warning(FAILED, provider.name, f"{type(exc).__name__}.")
        return _not_now(RETRY_AFTER)
    logger.info("%s ended %d sessions by the back channel.", provider.name, ended)
    return HttpResponse(headers={"Cache-Control": "no-store"})


def _posted_token(request: HttpRequest) -> str:
    """Return the one logout token of the form; other fields are ignored (section 2.5)."""
    try:
        posted = read_posted_form(request).get("logout_token", [])
    except ValueError as exc:
        raise InvalidLogoutToken(str(exc)) from None
    if len(posted) != 1:
        raise InvalidLogoutToken("The request does not hold one logout_token.")
    return posted[0]


def _read(provider: ProviderConfig, token: str) -> LogoutToken:
    found = metadata.load_metadata(provider)
    if not session_links.allows_backchannel_logout(provider, found):
        raise InvalidLogoutToken("Back-channel logout is not enabled for this provider.")
    issuer, url = found.issuer or "", found.jwks_uri or ""  # OpenID metadata has both
    return logout_token.verify_logout_token(
        token,
        issuer=issuer,
        client_id=provider.client_id,
        find_keys=lambda key_id, algorithm: jwks.find_signing_keys(
            url, key_id=key_id, algorithm=algorithm, reach=found.reach
        ),
        now=services().clock(),
    )


def _end(token: LogoutToken) -> int:
    """End the sessions, unless the token was used before.

    It is marked as used afterwards, so that a provider can send it again after a failure. Two
    requests at once end the same sessions.
    """
    if used_tokens.is_used(services(), token.issuer, token.id):
        raise InvalidLogoutToken("The logout token was used before.")
    if token.session_id is not None:
        names = session_links.link_names(token.issuer, session_links.SESSION, token.session_id)
    else:
        names = session_links.link_names(token.issuer, session_links.SUBJECT, token.subject or "")
    ended = sum(end_linked(services(), name) for name in names)
    used_tokens.mark_used(services(), token.issuer, token.id, until=token.ends_at)
    return ended


def _not_now(seconds: int) -> HttpResponse:
    retry = {"Retry-After": str(seconds)}
    return _refusal("Try again later.", "temporarily_unavailable", status=503, headers=retry)


def _refusal(
    description: str,
    error: str = "invalid_request",
    *,
    status: int,
    headers: dict[str, str] | None = None,
) -> HttpResponse:
    response = {"error": error, "error_description": description}
    return JsonResponse(
        response, status=status, headers={"Cache-Control": "no-store", **(headers or {})}
    )
