"""How this client shows a provider's token endpoint who it is (RFC 6749 section 2.3).

A provider and a form enter, the form and the headers to send leave. Knows nothing
of what is asked for.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import quote_plus

from oauth.provider.client import key
from oauth.provider.client.apple import client_secret
from oauth.provider.config import BASIC, ISSUER, POST, PRIVATE_KEY, Provider

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_KIND = "client-authentication+jwt"
ASSERTION_LIFETIME = 60  # seconds
# One for each kind of key, the most widely known first; the key decides.
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")


def authenticated(
    provider: Provider,
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
    method = method_of(provider, methods)
    if method == PRIVATE_KEY:
        proof = {
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion(provider, issuer, endpoint, algorithms, now=now),
        }
        return {**form, "client_id": provider.client_id, **proof}, {}
    if method == BASIC:
        # Both parts are form-encoded first: RFC 6749 section 2.3.1.
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
        return dict(form), {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    proof = {"client_secret": _secret(provider, now)} if method == POST else {}
    return {**form, "client_id": provider.client_id, **proof}, {}


def _secret(provider: Provider, now: int) -> str:
    if provider.apple_team_id is None:
        return provider.client_secret
    return client_secret(provider, now=now)


def method_of(provider: Provider, methods: Sequence[str]) -> str | None:
    """Return how to authenticate; None for a public client, which only names itself.

    Without a setting the metadata decides, where none are named it means
    client_secret_basic (OpenID Connect Discovery section 3).
    """
    if provider.auth_method is not None:
        return provider.auth_method
    if not provider.client_secret:
        return None
    return POST if POST in methods and BASIC not in methods else BASIC


def assertion(
    provider: Provider,
    issuer: str | None,
    endpoint: str,
    algorithms: Sequence[str] = (),
    *,
    now: int,
) -> str:
    """Return a signed assertion, good once and for a minute (RFC 7523, OIDC Core section 9).

    Its only audience is the issuer, and its type says so (RFC 10070 section 4): an assertion
    for an endpoint can be had by a provider that claims another one's endpoint as its own.
    `assertion_audience` is for the providers that document the endpoint, and no type. Raises
    ProviderUnavailable when the key cannot be used.
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
    headers = {"typ": ASSERTION_KIND if is_for_issuer else "JWT"}
    if provider.private_key_id:
        headers["kid"] = provider.private_key_id
    fitting = [each for each in ALGORITHMS if not algorithms or each in algorithms]
    return key.signed(provider, claims, fitting, headers)
