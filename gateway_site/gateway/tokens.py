"""The one place where the gateway asks for a token; its failures become problems."""

from __future__ import annotations

import re

from django.http import HttpRequest
from django.urls import reverse

from gateway_site.gateway.problems import Problem, unavailable
from oauth.access import aget_token
from oauth.exceptions import NotConnected, ProviderUnavailable, ReauthenticationRequired
from oauth.tokens import TokenSet
from sessions_kms.exceptions import StoreUnavailable

B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


async def access_token(
    request: HttpRequest, provider: str, refused: TokenSet | None = None
) -> TokenSet:
    """Return a valid bearer token; `refused` is one that an upstream answered 401 to.

    Raises Problem.
    """
    try:
        token = await aget_token(request, provider, refused)
    except NotConnected:
        raise _sign_in(provider, "not_connected", "This account is not connected.") from None
    except ReauthenticationRequired:
        raise _sign_in(
            provider, "reauthentication_required", "The provider asks for a new sign-in."
        ) from None
    except ProviderUnavailable:
        raise unavailable(
            "provider_unavailable", "The provider cannot be reached at the moment."
        ) from None
    except StoreUnavailable:
        raise unavailable(
            "store_unavailable", "The session store cannot be used at the moment."
        ) from None
    if token.token_type.lower() != "bearer" or not B64TOKEN.fullmatch(token.access_token):
        raise Problem(502, "unusable_token", "The provider's token is not a bearer token.")
    return token


def sign_in_url(provider: str) -> str:
    """Return where a signed-in person consents again."""
    if provider == "github":
        url = reverse("github_login")
    else:
        url = reverse("openid_connect_login", kwargs={"provider_id": provider})
    return url + "?process=connect"


def _sign_in(provider: str, code: str, detail: str) -> Problem:
    return Problem(401, code, detail, provider=provider, sign_in_url=sign_in_url(provider))
