"""Sign-ins with an OpenID provider: its id token says who it is, and is held to its issuer.

OpenID Connect Core 3.1.3. The userinfo adds to it, where there is one.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from django.http import HttpRequest

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.provider import id_token as id_tokens
from oauth.provider import tenants
from oauth.provider.id_token import InvalidIdToken
from oauth.sign_in.adapters.plain import Configured

logger = logging.getLogger(__name__)


def naming_the_request(provider: OAuth2Provider) -> None:
    """Have the id token of a provider's sign-ins name the request that it answers.

    Its nonce (OpenID Connect Core 3.1.2.1) refuses a code that another request was given
    where the provider does not know PKCE and ignores its challenge (RFC 9700 section 4.5.3).
    It is the challenge itself: a hash of what only this session holds, as section 15.5.2
    of OpenID Connect Core suggests.
    """
    pkce_params = provider.get_pkce_params

    def with_nonce() -> dict[str, Any]:
        found: dict[str, Any] = pkce_params()
        return found | ({"nonce": found["code_challenge"]} if found else {})

    provider.get_pkce_params = with_nonce


class OpenID(Configured):
    """Holds an OpenID provider to its own metadata."""

    _code_verifier: str | None = None
    _claims: Mapping[str, Any] = MappingProxyType({})

    def check_issuer(self) -> None:
        """Reject a code or an error that is not from the expected issuer.

        One that announces `iss` must send it, and once (RFC 9207 section 2.4, RFC 6749 section
        3.1). Raises ProviderRefused, and ProviderUnavailable.
        """
        config, issuers = self.openid_config, self.request.GET.getlist("iss")
        announced = config.get("authorization_response_iss_parameter_supported") is True
        if (announced or issuers) and issuers != [config["issuer"]]:
            raise ProviderRefused(
                "The authorization response does not name the expected issuer.",
                Code.RESPONSE_ISSUER,
            )

    def _use_verifier(self, code_verifier: str | None) -> None:
        self._code_verifier = code_verifier

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Accept the id token of this request, and the userinfo of its subject only.

        OpenID Connect Core 3.1.3.7 and 5.3.2.
        """
        __traceback_hide__ = True
        self._claims = self._checked(app, kwargs["response"])
        return super().complete_login(request, app, token, **kwargs)

    def _checked(self, app: SocialApp, response: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims of the id token. Raises ProviderRefused."""
        __traceback_hide__ = True
        if not response.get("id_token"):
            raise ProviderRefused("The token response holds no id token.", Code.ID_TOKEN_MISSING)
        try:
            tenant = id_tokens.claims_of(response["id_token"]).get("tid")
            claims = id_tokens.read(
                response["id_token"],
                issuer=tenants.issuer_of_id_token(
                    self._configured, self._found.document["issuer"], tenant
                ),
                client_id=app.client_id,
                access_token=str(response.get("access_token")),
                now=self._clock(),
            )
        except InvalidIdToken as exc:
            raise ProviderRefused(str(exc), exc.code) from None
        verifier = self._code_verifier
        if verifier is not None and claims.get("nonce") != code_challenge(verifier):
            raise ProviderRefused("The id token answers another request.", Code.ID_TOKEN_NONCE)
        return claims

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        return dict(self._claims)

    def _fetch_user_info(self, access_token: str) -> dict[str, Any]:
        """Return the userinfo of the id token's subject, empty where there is none to be had.

        Allauth then takes the id token's claims, which are enough: some providers have no such
        endpoint (Apple), others refuse it tokens that are for another API (Entra ID). What
        does not name its subject may not be used (OpenID Connect Core 5.3.2).
        """
        __traceback_hide__ = True
        if self._found.document.get("userinfo_endpoint") is None:
            return {}
        try:
            claims = _with_subject(super()._fetch_user_info(access_token))
        except ProviderUnavailable as exc:
            logger.warning("%s: %s The id token has to do.", self.provider_id, exc)
            return {}
        if claims["sub"] != self._claims["sub"]:
            raise ProviderRefused(
                "The userinfo is about another subject than the id token.", Code.USERINFO_SUBJECT
            )
        return claims


def _with_subject(userinfo: dict[str, Any]) -> dict[str, Any]:
    if userinfo.get("sub") is None:
        raise ProviderUnavailable("The userinfo names no subject.")
    return userinfo


def code_challenge(code_verifier: str) -> str:
    """Return the code challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
