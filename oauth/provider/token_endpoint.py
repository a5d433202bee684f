"""Sends forms to a provider as an authenticated client (RFC 6749 section 2.3).

Takes a form and returns the provider's response. The client authenticates with a secret, with a
private key, or in Apple's way, where the secret is a token signed with a key of the developer's
team. The key file is read each time, so that it can be replaced while the gateway runs.
https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
"""

import base64
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import jwt

from oauth.codes import Code
from oauth.exceptions import ProviderBusy, ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.provider import dpop
from oauth.provider.config import BASIC, ISSUER, MCP_KIND, POST, PRIVATE_KEY, ProviderConfig
from oauth.provider.metadata import Metadata
from sessions_kms.http.descriptors import is_exhaustion

logger = logging.getLogger(__name__)

APPLE_AUDIENCE = "https://appleid.apple.com"
APPLE_CANCELLED = "user_cancelled_authorize"
APPLE_SECRET_LIFETIME = 300  # seconds; Apple allows six months, but a stolen one stays valid

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_MEDIA_TYPE = "client-authentication+jwt"
ASSERTION_LIFETIME = 60  # seconds
# Tried in this order, the most widely supported first; the type of the key decides.
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")


def sign_with_client_key(
    provider: ProviderConfig,
    claims: Mapping[str, object],
    algorithms: Iterable[str],
    headers: Mapping[str, Any],
) -> str:
    """Sign with the first of the algorithms that the type of the key supports.

    Raises ProviderUnavailable if the key cannot be used, ProviderBusy if this process has no file
    descriptor left.
    """
    __traceback_hide__ = True
    is_exhausted = False
    try:
        pem = provider.private_key or Path(provider.private_key_file or "").read_bytes()
        for algorithm in algorithms:
            if (token := _sign(claims, pem, algorithm, headers)) is not None:
                return token
    except (OSError, ValueError) as exc:
        is_exhausted = is_exhaustion(exc)
    if is_exhausted:
        logger.error("No file descriptor was left to read the private key of %s.", provider.name)
        raise ProviderBusy("This process has no file descriptor left.")
    logger.error("The private key of the provider %s cannot be used.", provider.name)
    raise ProviderUnavailable(
        "This gateway cannot authenticate itself to the provider.", Code.CLIENT_KEY
    )


def _sign(
    claims: Mapping[str, object], pem: bytes, algorithm: str, headers: Mapping[str, Any]
) -> str | None:
    __traceback_hide__ = True
    try:
        return jwt.encode(dict(claims), pem, algorithm, dict(headers))
    except (jwt.PyJWTError, TypeError, ValueError):
        return None


def make_apple_secret(provider: ProviderConfig, *, now: int) -> str:
    """Return a new client secret, signed with the P-256 key that is registered at Apple.

    Raises ProviderUnavailable if the key cannot be used.
    """
    __traceback_hide__ = True
    claims = {
        "iss": provider.apple_team_id,
        "iat": now,
        "exp": now + APPLE_SECRET_LIFETIME,
        "aud": APPLE_AUDIENCE,
        "sub": provider.client_id,
    }
    return sign_with_client_key(provider, claims, ["ES256"], {"kid": provider.private_key_id})


def authenticate_form(
    provider: ProviderConfig,
    form: Mapping[str, str],
    *,
    issuer: str | None,
    endpoint: str,
    methods: Sequence[str],
    algorithms: Sequence[str] = (),
    now: int,
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form and the headers of a request that shows who this client is.

    ``endpoint`` is what is asked, ``issuer`` and the rest are what the provider's metadata names.
    Raises ProviderUnavailable when the private key cannot be used.
    """
    __traceback_hide__ = True
    method = select_auth_method(provider, methods)
    if method == PRIVATE_KEY:
        proof = {
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": make_assertion(provider, issuer, endpoint, algorithms, now=now),
        }
        return {**form, "client_id": provider.client_id, **proof}, {}
    if method == BASIC:
        # Both parts are form-encoded first: RFC 6749 section 2.3.1.
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
        if provider.kind == MCP_KIND:
            # Servers with the MCP SDK for Python (2.3) look for the client in the form even then.
            form = {**form, "client_id": provider.client_id}
        return dict(form), {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    proof = {"client_secret": _client_secret(provider, now)} if method == POST else {}
    return {**form, "client_id": provider.client_id, **proof}, {}


def _client_secret(provider: ProviderConfig, now: int) -> str:
    if provider.apple_team_id is None:
        return provider.client_secret
    return make_apple_secret(provider, now=now)


def select_auth_method(provider: ProviderConfig, methods: Sequence[str]) -> str | None:
    """Return how to authenticate; None for a public client, which only names itself.

    Without a setting the metadata decides, where none are named it means
    client_secret_basic (OpenID Connect Discovery section 3).
    """
    if provider.auth_method is not None:
        return provider.auth_method
    if not provider.client_secret:
        return None
    return POST if POST in methods and BASIC not in methods else BASIC


def make_assertion(
    provider: ProviderConfig,
    issuer: str | None,
    endpoint: str,
    algorithms: Sequence[str] = (),
    *,
    now: int,
) -> str:
    """Return a signed assertion for one use within a minute (RFC 7523, OIDC Core section 9).

    Its only audience is the issuer, as its type says (RFC 10070 section 4). With an endpoint as the
    audience, a malicious provider that names another provider's endpoint as its own could use the
    assertion there. `assertion_audience` is for providers that document the endpoint as the
    audience; those assertions have the type `JWT`. Raises ProviderUnavailable if the key cannot be
    used.
    """
    __traceback_hide__ = True
    is_for_issuer = issuer is not None and provider.assertion_audience == ISSUER
    claims: dict[str, object] = {
        "iss": provider.client_id,
        "sub": provider.client_id,
        "aud": issuer if is_for_issuer else endpoint,
        "jti": secrets.token_urlsafe(24),
        "iat": now,
        "exp": now + ASSERTION_LIFETIME,
    }
    headers = {"typ": ASSERTION_MEDIA_TYPE if is_for_issuer else "JWT"}
    if provider.private_key_id:
        headers["kid"] = provider.private_key_id
    usable = [each for each in ALGORITHMS if not algorithms or each in algorithms]
    return sign_with_client_key(provider, claims, usable, headers)


def request_tokens(
    provider: ProviderConfig,
    found: Metadata,
    form: Mapping[str, str],
    *,
    clock: Callable[[], float],
    dpop_key: str | None = None,
    timeout: float | None = None,
) -> ProviderResponse:
    """Post a token request, for the provider's resource if it has one (RFC 8707 section 2.2).

    The other arguments, and what it raises, are those of `post_as_client`.
    """
    __traceback_hide__ = True
    if provider.resource is not None:
        form = {**form, "resource": provider.resource}
    return post_as_client(provider, found, form, clock=clock, dpop_key=dpop_key, timeout=timeout)


def post_as_client(
    provider: ProviderConfig,
    found: Metadata,
    form: Mapping[str, str],
    *,
    clock: Callable[[], float],
    url: str | None = None,
    dpop_key: str | None = None,
    timeout: float | None = None,
) -> ProviderResponse:
    """Post a form as this client to the token endpoint, or to ``url``.

    With ``dpop_key``, the request has a DPoP proof, and is sent again if the proof lacked the
    provider's nonce. ``timeout`` is in seconds, for both requests together. Raises
    ProviderUnavailable.
    """
    __traceback_hide__ = True
    address = url or found.token_endpoint
    deadline = time.monotonic() + (http.POST_TIMEOUT if timeout is None else timeout)

    def send(nonce: str | None) -> ProviderResponse:
        __traceback_hide__ = True
        authenticated_form, headers = authenticate_form(
            provider,
            form,
            issuer=found.issuer,
            endpoint=address,
            methods=found.auth_methods,
            algorithms=found.auth_algorithms,
            now=int(clock()),
        )
        if dpop_key is not None:
            headers[dpop.PROOF_HEADER] = dpop.make_proof(
                dpop_key, "POST", address, now=clock(), nonce=nonce
            )
        remaining = max(deadline - time.monotonic(), 0.001)
        return http.post(address, authenticated_form, headers, reach=found.reach, timeout=remaining)

    return send(None) if dpop_key is None else dpop.send_with_nonce(address, send)
