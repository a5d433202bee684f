"""Who this client says it is, told apart from what it asks for by a code that is made up.

A provider looks at the client first (RFC 6749 section 5.2): `invalid_client` is about its
credentials, `invalid_grant` about the code alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from oauth.codes import Code, remedy
from oauth.doctor.remedies import PATIENCE
from oauth.doctor.site import callback_address
from oauth.exceptions import ProviderRefused
from oauth.provider import dpop
from oauth.provider import metadata as endpoints
from oauth.provider.config import Provider
from oauth.provider.metadata import Metadata
from sessions_kms.doctor.finding import Finding, failing, ok, warning

NAME = "client"
ELSEWHERE = "https://gateway.invalid/"  # RFC 6761: where this site's own address is not known


def client_findings(provider: Provider, found: Metadata, site: str | None) -> Iterator[Finding]:
    """Try to exchange a code that nobody was given. Raises ProviderUnavailable."""
    form = {
        "grant_type": "authorization_code",
        "code": secrets.token_urlsafe(24),
        "redirect_uri": callback_address(provider, site) or ELSEWHERE,
        "code_verifier": secrets.token_urlsafe(32),
    }
    key = dpop.new_key() if provider.dpop else None
    answer = endpoints.ask_token_endpoint(provider, found, form, dpop_key=key, patience=PATIENCE)
    try:
        answer.tokens()
    except ProviderRefused as exc:
        yield _told(exc.code)
    else:
        yield failing(
            NAME,
            "the token endpoint gave tokens for a code that was made up",
            "Let nobody sign in with this provider.",
        )


def _told(code: Code) -> Finding:
    if code is Code.TOKEN_INVALID_GRANT:
        return ok(NAME, "is accepted; the code that was made up is not")
    if code in {Code.TOKEN_INVALID_CLIENT, Code.TOKEN_UNAUTHORIZED_CLIENT}:
        return failing(NAME, f"the token endpoint does not accept it ({code})", remedy(code))
    return warning(NAME, f"cannot be told: the token endpoint says {code}", remedy(code))
