"""allauth's OAuth 2.0 adapters, made to keep what they drop and to refuse what they accept.

Their sign-ins carry the whole token set as `token_set`, and whatever cannot be read is a
`ProviderUnavailable`, so that a provider's bad answer is a page and not a traceback with
tokens in it.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from oauth import apple, dpop, endpoints, http, id_tokens, providers, pushing, readable, tenants
from oauth.codes import Code
from oauth.concurrency_limit import ConcurrencyLimit
from oauth.endpoints import Metadata, ask_token_endpoint
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.id_tokens import InvalidIdToken
from oauth.providers import POST, Provider
from oauth.pushing import PushingClient
from oauth.tokens import TokenSet
from sessions_kms.services import services

logger = logging.getLogger(__name__)

# Of one provider in one process. Anybody may cause them, with codes that are made up; what else
# a visitor without a grant has posted to a provider belongs under this limit as well.
EXCHANGES = 16
exchanges = ConcurrencyLimit(EXCHANGES)


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


class Capturing(OAuth2Adapter):  # type: ignore[misc]  # allauth has no types
    """Keeps scope, id token, token type and the end of the refresh token, which allauth drops."""

    _dpop_key: str | None = None  # what the tokens of this sign-in are bound to

    def get_access_token_data(
        self,
        request: HttpRequest,
        app: SocialApp,
        client: OAuth2Client,
        pkce_code_verifier: str | None = None,
    ) -> Any:
        """Exchange the code, authenticated as a refresh will be.

        A provider whose exchange is its own (another client class, or GET) is left to it.
        Raises ProviderBusy when too many are exchanged.
        """
        __traceback_hide__ = True
        with exchanges.one(self.get_provider().sub_id):
            return self._exchanged(request, app, client, pkce_code_verifier)

    def _exchanged(
        self,
        request: HttpRequest,
        app: SocialApp,
        client: OAuth2Client,
        pkce_code_verifier: str | None,
    ) -> Any:
        __traceback_hide__ = True
        configured = providers.provider(self.get_provider().sub_id)
        plain = type(client) in {OAuth2Client, PushingClient}
        plain = plain and client.access_token_method == "POST"  # noqa: S105 - a verb
        with readable.or_refused():
            if not plain or configured is None:
                return super().get_access_token_data(request, app, client, pkce_code_verifier)
            form = {
                "grant_type": "authorization_code",
                "code": request.GET["code"],
                "redirect_uri": client.callback_url,
            }
            if pkce_code_verifier:
                form["code_verifier"] = pkce_code_verifier
            self._dpop_key = dpop.new_key() if configured.dpop else None
            found = self._metadata(configured)
            answer = ask_token_endpoint(configured, found, form, dpop_key=self._dpop_key)
            self.did_fetch_access_token = True
            tokens = answer.tokens()
        if self._dpop_key is not None and not dpop.is_bound(str(tokens.get("token_type"))):
            # Section 5 of RFC 9449: a client that needs tokens to be bound discards others.
            raise ProviderRefused(dpop.NOT_BOUND, Code.TOKEN_NOT_BOUND)
        return tokens

    def _metadata(self, provider: Provider) -> Metadata:
        # What allauth sends the providers without discovery, and they document.
        return Metadata(
            issuer=None,
            token_endpoint=self.access_token_url,
            auth_methods=(POST,),
            reach=endpoints.reach_of(provider),
        )

    def parse_token(self, data: Mapping[str, Any]) -> SocialToken:
        """Leave the end of the token to `TokenSet`: allauth reads whole numbers only."""
        with readable.or_refused():
            return super().parse_token({**data, self.expires_in_key: None})

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        with readable.or_refused():
            try:
                login = super().complete_login(request, app, token, **kwargs)
            except ImproperlyConfigured:  # allauth's word for a subject that is too long
                raise ProviderRefused(
                    "The account's identifier is too long.", Code.SUBJECT
                ) from None
            if login.account.uid == str(None):  # allauth's reading of a null
                raise ProviderRefused("The answer does not say whose account it is.", Code.SUBJECT)
            readable.check_text(login.account)
            login.token_set = TokenSet.from_response(
                kwargs["response"],
                subject=login.account.uid,
                client_id=app.client_id,
                requested_scope=tuple(self.get_provider().get_scope()),
                now=int(services().clock()),
                dpop_key=self._dpop_key,
            )
        for address in login.email_addresses:
            address.verified = is_true(address.verified)
        return login


def is_true(claim: object) -> bool:
    """Read `email_verified`, a boolean (OpenID Connect Core 5.1); Amazon Cognito writes it as text.

    https://docs.aws.amazon.com/cognito/latest/developerguide/userinfo-endpoint.html
    """
    return claim is True or claim == "true"


class Configured(Capturing, OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # as above
    """Asks a provider at the endpoints of its metadata, or of its settings."""

    client_class: type[OAuth2Client] = OAuth2Client

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return the provider's metadata, which is kept. Raises ProviderUnavailable."""
        return dict(self._found.document)

    @property
    def login_cancelled_error(self) -> str:
        """Return the error that says that the person did not want to: Apple has its own.

        https://developer.apple.com/documentation/signinwithapple/incorporating-sign-in-with-apple-into-other-platforms
        """
        return "access_denied" if self._configured.apple_team_id is None else apple.CANCELLED

    @property
    def _configured(self) -> Provider:
        configured = providers.provider(self.get_provider().sub_id)
        if configured is None:
            raise ProviderUnavailable("The provider is not configured.")
        return configured

    @property
    def _found(self) -> Metadata:
        return endpoints.metadata(self._configured)

    @property
    def basic_auth(self) -> bool:
        """Say no: the exchange is ours, and allauth would look in a list that may be none."""
        return False

    def get_client(self, request: HttpRequest, app: SocialApp) -> OAuth2Client:
        """Return a client that pushes its authorization requests, where they are to be."""
        if self.client_class is not OAuth2Client or not pushing.is_wanted(
            self._configured, self._found
        ):
            return super().get_client(request, app)
        self.client_class = PushingClient
        client = super().get_client(request, app)
        client.push = self._pushed
        return client

    def _pushed(self, authorization_request: Mapping[str, str]) -> str:
        configured = self._configured
        with exchanges.one(configured.name):
            return pushing.pushed(configured, self._found, authorization_request)

    def _metadata(self, provider: Provider) -> Metadata:
        return self._found

    def _fetch_user_info(self, access_token: str) -> dict[str, Any]:
        """Ask for the userinfo where the provider may have its endpoints."""
        __traceback_hide__ = True
        found = self._found
        url, key = found.document["userinfo_endpoint"], self._dpop_key

        def ask(nonce: str | None) -> http.Answer:
            __traceback_hide__ = True
            now = services().clock()
            headers = {"Authorization": f"Bearer {access_token}"}
            if key is not None:
                headers = dpop.headers(key, access_token, "GET", url, now=now, nonce=nonce)
            return http.get(url, reach=found.reach, headers=headers)

        answer = ask(None) if key is None else dpop.asked(url, ask)
        if answer.status != 200:
            raise ProviderUnavailable("The provider gives no userinfo now.", Code.USERINFO_STATUS)
        return answer.content()


class Discovering(Configured):
    """Holds an OpenID provider to its own metadata."""

    _code_verifier: str | None = None
    _claims: Mapping[str, Any] = MappingProxyType({})

    def get_access_token_data(
        self,
        request: HttpRequest,
        app: SocialApp,
        client: OAuth2Client,
        pkce_code_verifier: str | None = None,
    ) -> Any:
        """Exchange the code, unless another issuer than the expected one sent it.

        One that announces to name itself in its answers must do so (RFC 9207 section 2.4).
        """
        config, issuer = self.openid_config, self.request.GET.get("iss")
        announced = config.get("authorization_response_iss_parameter_supported") is True
        if (announced or issuer is not None) and issuer != config["issuer"]:
            raise ProviderRefused(
                "The authorization response does not name the expected issuer.",
                Code.RESPONSE_ISSUER,
            )
        self._code_verifier = pkce_code_verifier
        return super().get_access_token_data(request, app, client, pkce_code_verifier)

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
                now=services().clock(),
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


class Plain(Configured):
    """Signs in with OAuth 2.0 alone: who it is, the userinfo says."""

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Ignore an id token: no issuer is configured by which it could be judged."""
        __traceback_hide__ = True
        response = {name: each for name, each in kwargs["response"].items() if name != "id_token"}
        return super().complete_login(request, app, token, **kwargs | {"response": response})


def _with_subject(userinfo: dict[str, Any]) -> dict[str, Any]:
    if userinfo.get("sub") is None:
        raise ProviderUnavailable("The userinfo names no subject.")
    return userinfo


def code_challenge(code_verifier: str) -> str:
    """Return the code challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
