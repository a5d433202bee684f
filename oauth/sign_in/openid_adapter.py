"""allauth's OpenID adapter, restricted to the endpoints in the metadata or the settings.

`OpenIDAdapter` verifies the id token (OpenID Connect Core 3.1.3) and adds the userinfo. Without an
issuer, `PlainOAuth2Adapter` uses only the userinfo (OAuth 2.0, RFC 6749). An account is identified
by its subject (OpenID Connect Core 5.7) unless the settings name other claims: Entra ID's subject
differs for each client, and plain OAuth 2.0 providers have their own names for it.
"""

import logging
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.formats import hash_text
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.provider import config, dpop, metadata, pushed_requests, token_endpoint
from oauth.provider import id_token as id_tokens
from oauth.provider.config import ProviderConfig
from oauth.provider.id_token import InvalidIdToken
from oauth.provider.metadata import Metadata
from oauth.provider.pushed_requests import PushingOAuth2Client
from oauth.sign_in.oauth2_adapter import TokenCapturingAdapter, exchanges

logger = logging.getLogger(__name__)


class MetadataAdapter(TokenCapturingAdapter, OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth has no types
    """Uses the endpoints in the provider's metadata, or in its settings."""

    client_class: type[OAuth2Client] = OAuth2Client

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return the provider's metadata, which is cached. Raises ProviderUnavailable."""
        return dict(self._found.document)

    @property
    def login_cancelled_error(self) -> str:
        """Return the error code for a sign-in that the person cancelled. Apple has its own.

        https://developer.apple.com/documentation/signinwithapple/incorporating-sign-in-with-apple-into-other-platforms
        """
        return (
            "access_denied"
            if self._configured.apple_team_id is None
            else token_endpoint.APPLE_CANCELLED
        )

    @property
    def _configured(self) -> ProviderConfig:
        configured = config.find_provider(self.get_provider().sub_id)
        if configured is None:
            raise ProviderUnavailable("The provider is not configured.")
        return configured

    @property
    def _found(self) -> Metadata:
        return metadata.load_metadata(self._configured)

    @property
    def basic_auth(self) -> bool:
        """Always False: the exchange is ours, and allauth fails if the metadata has no list."""
        return False

    def get_client(self, request: HttpRequest, app: SocialApp) -> OAuth2Client:
        """Return a client that pushes its authorization requests, if they have to be pushed."""
        if self.client_class is not OAuth2Client or not pushed_requests.uses_par(
            self._configured, self._found
        ):
            return super().get_client(request, app)
        self.client_class = PushingOAuth2Client
        client = super().get_client(request, app)
        client.push = self._pushed
        return client

    def _pushed(self, authorization_request: Mapping[str, str]) -> str:
        configured = self._configured
        with exchanges.slot(configured.name):
            return pushed_requests.push_request(
                configured, self._found, authorization_request, clock=self._clock
            )

    def _metadata(self, provider: ProviderConfig) -> Metadata:
        return self._found

    def _fetch_user_info(self, access_token: str) -> dict[str, Any]:
        """Request the userinfo from the endpoint in the metadata."""
        __traceback_hide__ = True
        found = self._found
        url, key = found.document["userinfo_endpoint"], self._dpop_key

        def send(nonce: str | None) -> ProviderResponse:
            __traceback_hide__ = True
            now = self._clock()
            headers = {"Authorization": f"Bearer {access_token}"}
            if key is not None:
                headers = dpop.headers(key, access_token, "GET", url, now=now, nonce=nonce)
            return http.get(url, reach=found.reach, headers=headers)

        response = send(None) if key is None else dpop.send_with_nonce(url, send)
        if response.status != 200:
            raise ProviderUnavailable(
                "The provider returns no userinfo at the moment.", Code.USERINFO_STATUS
            )
        return response.parse()


class PlainOAuth2Adapter(MetadataAdapter):
    """Signs in with plain OAuth 2.0: the userinfo identifies the account."""

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Ignore an id token: no issuer is configured to verify it."""
        __traceback_hide__ = True
        response = {name: each for name, each in kwargs["response"].items() if name != "id_token"}
        return super().complete_login(request, app, token, **kwargs | {"response": response})


def add_nonce(provider: OAuth2Provider) -> None:
    """Add a nonce to a provider's authorization requests (OpenID Connect Core 3.1.2.1).

    If a provider ignores PKCE, the nonce still rejects a code from another request (RFC 9700
    section 4.5.3). The nonce is the code challenge: a hash of a value that only this session holds,
    as section 15.5.2 of OpenID Connect Core suggests.
    """
    pkce_params = provider.get_pkce_params

    def with_nonce() -> dict[str, Any]:
        found: dict[str, Any] = pkce_params()
        return found | ({"nonce": found["code_challenge"]} if found else {})

    provider.get_pkce_params = with_nonce


class OpenIDAdapter(MetadataAdapter):
    """Verifies an OpenID provider's responses against its metadata."""

    _code_verifier: str | None = None
    _claims: Mapping[str, Any] = MappingProxyType({})

    def check_issuer(self) -> None:
        """Reject a code or an error that is not from the expected issuer.

        A provider that announces `iss` must send it exactly once (RFC 9207 section 2.4, RFC 6749
        section 3.1). Raises ProviderRefused and ProviderUnavailable.
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
        """Verify the id token, and accept userinfo only for its subject.

        See OpenID Connect Core 3.1.3.7 and 5.3.2.
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
            tenant = id_tokens.decode_claims(response["id_token"]).get("tid")
            claims = id_tokens.verify_id_token(
                response["id_token"],
                issuer=metadata.issuer_of_id_token(
                    self._configured, self._found.document["issuer"], tenant
                ),
                client_id=app.client_id,
                access_token=str(response.get("access_token")),
                now=self._clock(),
            )
        except InvalidIdToken as exc:
            raise ProviderRefused(str(exc), exc.code) from None
        verifier = self._code_verifier
        if verifier is not None and claims.get("nonce") != hash_text(verifier):
            raise ProviderRefused("The id token answers another request.", Code.ID_TOKEN_NONCE)
        return claims

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        return dict(self._claims)

    def _fetch_user_info(self, access_token: str) -> dict[str, Any]:
        """Return the userinfo of the id token's subject, empty if it is not available.

        allauth then uses the id token's claims, which are enough: some providers have no such
        endpoint (Apple), others reject tokens for another API there (Entra ID). Userinfo without a
        subject must not be used (OpenID Connect Core 5.3.2).
        """
        __traceback_hide__ = True
        if self._found.document.get("userinfo_endpoint") is None:
            return {}
        try:
            claims = _require_subject(super()._fetch_user_info(access_token))
        except ProviderUnavailable as exc:
            logger.warning("%s: %s Using the id token's claims only.", self.provider_id, exc)
            return {}
        if claims["sub"] != self._claims["sub"]:
            raise ProviderRefused(
                "The userinfo is about another subject than the id token.", Code.USERINFO_SUBJECT
            )
        return claims


def _require_subject(userinfo: dict[str, Any]) -> dict[str, Any]:
    if userinfo.get("sub") is None:
        raise ProviderUnavailable("The userinfo names no subject.")
    return userinfo


def set_account_identity(provider: OpenIDConnectProvider, configured: ProviderConfig) -> None:
    """Make allauth identify a provider's accounts by the configured claims.

    With an issuer, they are read from the id token, which was verified.
    """
    source = "userinfo" if configured.issuer is None else "id_token"
    provider.extract_uid = lambda data: build_identity(data[source], configured.identity)


def build_identity(claims: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the identity from these claims. Raises ProviderRefused if one is missing."""
    found = [_find_claim(claims, name) for name in names]
    if not all(_is_usable_claim(each) for each in found):
        raise ProviderRefused("The response does not say whose account it is.", Code.SUBJECT)
    return ".".join(str(each) for each in found)


def _is_usable_claim(value: object) -> bool:
    return value != "" and isinstance(value, str | int) and not isinstance(value, bool)


def _find_claim(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its exact name, or else by a path with dots."""
    if name in claims:
        return claims[name]
    first, _, rest = name.partition(".")
    inner = claims.get(first) if rest else None
    return _find_claim(inner, rest) if isinstance(inner, Mapping) else None


@cache
def adapter_class_for(
    adapter_class: type[OAuth2Adapter], *, has_issuer: bool
) -> type[OAuth2Adapter]:
    """Return the subclass of an adapter class that this package signs in with."""
    if issubclass(adapter_class, TokenCapturingAdapter):
        return adapter_class
    if not issubclass(adapter_class, OpenIDConnectOAuth2Adapter):
        return type(adapter_class.__name__, (TokenCapturingAdapter, adapter_class), {})
    strict = OpenIDAdapter if has_issuer else PlainOAuth2Adapter
    return type(adapter_class.__name__, (strict, adapter_class), {})
