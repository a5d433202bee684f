"""allauth's OAuth 2.0 adapters, made to keep what they drop and to refuse what they accept.

An adapter class enters, a subclass leaves: its sign-ins carry the whole token set
as `token_set`, and whatever it cannot read is a `ProviderUnavailable`, so that a
provider's bad answer is a page and not a traceback with tokens in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import Any

import requests
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from oauth import endpoints, http, id_tokens, providers
from oauth.admission import admitting
from oauth.concurrency_limit import ConcurrencyLimit
from oauth.endpoints import Metadata, ask_token_endpoint
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.id_tokens import InvalidIdToken
from oauth.providers import POST, Provider
from oauth.tokens import TokenSet
from sessions_kms.services import services

HALVES = re.compile("[\ud800-\udfff]")
# Of one provider in one process. Anybody may cause them, with codes that are made up; what else
# a visitor without a grant has posted to a provider belongs under this limit as well.
EXCHANGES = 16
exchanges = ConcurrencyLimit(EXCHANGES)


@cache
def capturing(adapter_class: type[OAuth2Adapter]) -> type[OAuth2Adapter]:
    """Return the subclass of an adapter class that this package signs in with."""
    if issubclass(adapter_class, _Capturing):
        return adapter_class
    strict = _Discovering if issubclass(adapter_class, OpenIDConnectOAuth2Adapter) else _Capturing
    return type(adapter_class.__name__, (strict, adapter_class), {})


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


@contextmanager
def unreadable_answers_refused() -> Iterator[None]:
    """Turn what reading a malformed answer raises into ProviderUnavailable.

    Without the cause, whose message and frames may hold the answer.
    """
    try:
        yield
    except requests.RequestException:
        raise  # allauth's views and ours know it, and its message holds no body
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise ProviderUnavailable("The provider's answer cannot be read.") from None


class _Capturing(OAuth2Adapter):  # type: ignore[misc]  # allauth has no types
    """Keeps scope, id token, token type and the end of the refresh token, which allauth drops."""

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
        plain = type(client) is OAuth2Client and client.access_token_method == "POST"  # noqa: S105 - a verb
        with unreadable_answers_refused():
            if not plain or configured is None:
                return super().get_access_token_data(request, app, client, pkce_code_verifier)
            form = {
                "grant_type": "authorization_code",
                "code": request.GET["code"],
                "redirect_uri": client.callback_url,
            }
            if pkce_code_verifier:
                form["code_verifier"] = pkce_code_verifier
            answer = ask_token_endpoint(configured, self._metadata(configured), form)
            self.did_fetch_access_token = True
            return answer.tokens()

    def _metadata(self, provider: Provider) -> Metadata:
        # What allauth sends the providers without discovery, and they document.
        return Metadata(
            issuer=None,
            token_endpoint=self.access_token_url,
            auth_methods=(POST,),
            reach=endpoints.reach_of(provider),
        )

    def parse_token(self, data: Mapping[str, Any]) -> SocialToken:
        with unreadable_answers_refused():
            return super().parse_token(data)

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        with unreadable_answers_refused():
            try:
                login = super().complete_login(request, app, token, **kwargs)
            except ImproperlyConfigured:  # allauth's word for a subject that is too long
                raise ProviderRefused("The account's identifier is too long.") from None
            if login.account.uid == str(None):  # allauth's reading of a null
                raise ProviderRefused("The answer does not say whose account it is.")
            _check_text(login.account)
            token_set = TokenSet.from_response(
                kwargs["response"],
                subject=login.account.uid,
                client_id=app.client_id,
                requested_scope=tuple(self.get_provider().get_scope()),
                now=int(services().clock()),
            )
        login.token_set = self._admitted(login, token_set)
        for address in login.email_addresses:
            address.verified = is_true(address.verified)
        return login

    def _admitted(self, login: SocialLogin, token_set: TokenSet) -> TokenSet:
        """Return the token set of somebody who may sign in. Raises SignInRefused.

        Before allauth asks the database for the account, or puts anything there.
        """
        __traceback_hide__ = True
        configured = providers.provider(self.get_provider().sub_id)
        if configured is None:
            return token_set
        return admitting.admitted(configured, login.account.extra_data, token_set)


def _check_text(account: SocialAccount) -> None:
    """Refuse what a database refuses: NUL, halves of UTF-16 characters, and what is no number.

    https://www.postgresql.org/docs/current/datatype-json.html
    """
    try:
        text = json.dumps([account.uid, account.extra_data], ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ProviderRefused("The answer holds what is no number.") from None
    if "\\u0000" in text.replace("\\\\", "") or HALVES.search(text):
        raise ProviderRefused("The answer holds what is no text.")


def is_true(claim: object) -> bool:
    """Read `email_verified`, a boolean (OpenID Connect Core 5.1); Amazon Cognito writes it as text.

    https://docs.aws.amazon.com/cognito/latest/developerguide/userinfo-endpoint.html
    """
    return claim is True or claim == "true"


class _Discovering(_Capturing, OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # as above
    """Holds an OpenID provider to its own metadata."""

    _code_verifier: str | None = None
    _claims: Mapping[str, Any] = MappingProxyType({})

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return the provider's metadata, which is kept. Raises ProviderUnavailable."""
        return dict(self._found.document)

    @property
    def _found(self) -> Metadata:
        configured = providers.provider(self.get_provider().sub_id)
        if configured is None:
            raise ProviderUnavailable("The provider is not configured.")
        return endpoints.metadata(configured)

    def _metadata(self, provider: Provider) -> Metadata:
        return self._found

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
            raise ProviderRefused("The authorization response does not name the expected issuer.")
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
        login = super().complete_login(request, app, token, **kwargs)
        claims = login.account.extra_data
        with unreadable_answers_refused():
            told = claims["userinfo"]["sub"] if "userinfo" in claims else self._claims["sub"]
        if told != self._claims["sub"]:
            raise ProviderRefused("The userinfo is about another subject than the id token.")
        return login

    def _checked(self, app: SocialApp, response: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims of the id token. Raises ProviderRefused."""
        __traceback_hide__ = True
        if not response.get("id_token"):
            raise ProviderRefused("The token response holds no id token.")
        try:
            claims = id_tokens.read(
                response["id_token"],
                issuer=self._found.document["issuer"],
                client_id=app.client_id,
                access_token=str(response.get("access_token")),
                now=services().clock(),
            )
        except InvalidIdToken as exc:
            raise ProviderRefused(str(exc)) from None
        verifier = self._code_verifier
        if verifier is not None and claims.get("nonce") != _challenge(verifier):
            raise ProviderRefused("The id token answers another request.")
        return claims

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        return dict(self._claims)

    def _fetch_user_info(self, access_token: str) -> dict[str, Any]:
        """Ask for the userinfo where the provider may have its endpoints."""
        __traceback_hide__ = True
        found = self._found
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = http.get(found.document["userinfo_endpoint"], reach=found.reach, headers=headers)
        if answer.status != 200:
            raise ProviderUnavailable("The provider gives no userinfo now.")
        return answer.content()


def _challenge(code_verifier: str) -> str:
    """Return the code challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
