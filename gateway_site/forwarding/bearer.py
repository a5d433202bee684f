"""Tokens for upstreams: the only place where the gateway asks for one. Failures become problems."""

from __future__ import annotations

import re

from django.http import HttpRequest
from django.urls import reverse

from gateway_site.rules.headers import Headers
from gateway_site.rules.problems import Problem, unavailable
from oauth import (
    NotConnected,
    ProviderUnavailable,
    ReauthenticationRequired,
    TokenSet,
    aget_token,
)
from oauth.provider import dpop
from sessions_kms import StoreUnavailable
from sessions_kms.services import services

B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


async def fetch_access_token(
    request: HttpRequest, provider: str, refused: TokenSet | None = None
) -> TokenSet:
    """Return a valid bearer token, or one that is bound to a key that is stored with it.

    `refused` is a token that an upstream answered 401 to. Raises Problem.
    """
    try:
        token = await aget_token(request, provider, refused)
    except NotConnected:
        raise _sign_in_problem(
            provider, "not_connected", "This account is not connected."
        ) from None
    except ReauthenticationRequired:
        raise _sign_in_problem(
            provider, "reauthentication_required", "The provider requires a new sign-in."
        ) from None
    except ProviderUnavailable:
        raise unavailable(
            "provider_unavailable", "The provider cannot be reached at the moment."
        ) from None
    except StoreUnavailable:
        raise unavailable(
            "store_unavailable", "The session store cannot be used at the moment."
        ) from None
    if not _is_usable(token):
        raise Problem(
            502, "unusable_token", "The provider's token is of a type that cannot be sent."
        )
    return token


def authorization_headers(token: TokenSet, method: str, url: str, nonce: str | None) -> Headers:
    """Return the headers that present a token, with a proof of possession if it is bound to a key.

    `nonce` is what the upstream demanded in the proof.
    """
    if token.dpop_key is None:
        return [(b"authorization", b"Bearer " + token.access_token.encode("ascii"))]
    now = services().clock()
    shown = dpop.headers(token.dpop_key, token.access_token, method, url, now=now, nonce=nonce)
    return [(name.lower().encode(), value.encode("ascii")) for name, value in shown.items()]


def _is_usable(token: TokenSet) -> bool:
    """Return True if the token can be sent: RFC 6750, or RFC 9449."""
    kind = "bearer" if token.dpop_key is None else dpop.SCHEME.lower()
    return token.token_type.lower() == kind and bool(B64TOKEN.fullmatch(token.access_token))


def reconnect_url(provider: str) -> str:
    """Return the address at which a signed-in person connects a provider again."""
    if provider == "github":
        url = reverse("github_login")
    else:
        url = reverse("openid_connect_login", kwargs={"provider_id": provider})
    return url + "?process=connect"


def _sign_in_problem(provider: str, code: str, detail: str) -> Problem:
    return Problem(401, code, detail, provider=provider, sign_in_url=reconnect_url(provider))
