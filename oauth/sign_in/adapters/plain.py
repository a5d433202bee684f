"""Providers that are asked at the endpoints of their metadata, or of the settings.

`openid` adds what an issuer's word is worth. Without one, the userinfo alone says who signs in
(OAuth 2.0, RFC 6749).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.provider import config, dpop, metadata, pushed_requests
from oauth.provider.client import apple
from oauth.provider.config import Provider
from oauth.provider.metadata import Metadata
from oauth.provider.pushed_requests import PushingClient
from oauth.sign_in.adapters.oauth2 import Capturing, exchanges


class Configured(Capturing, OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth has no types
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
        configured = config.provider(self.get_provider().sub_id)
        if configured is None:
            raise ProviderUnavailable("The provider is not configured.")
        return configured

    @property
    def _found(self) -> Metadata:
        return metadata.of(self._configured)

    @property
    def basic_auth(self) -> bool:
        """Say no: the exchange is ours, and allauth would look in a list that may be none."""
        return False

    def get_client(self, request: HttpRequest, app: SocialApp) -> OAuth2Client:
        """Return a client that pushes its authorization requests, where they are to be."""
        if self.client_class is not OAuth2Client or not pushed_requests.is_wanted(
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
            return pushed_requests.pushed(
                configured, self._found, authorization_request, clock=self._clock
            )

    def _metadata(self, provider: Provider) -> Metadata:
        return self._found

    def _fetch_user_info(self, access_token: str) -> dict[str, Any]:
        """Ask for the userinfo where the provider may have its endpoints."""
        __traceback_hide__ = True
        found = self._found
        url, key = found.document["userinfo_endpoint"], self._dpop_key

        def ask(nonce: str | None) -> http.Answer:
            __traceback_hide__ = True
            now = self._clock()
            headers = {"Authorization": f"Bearer {access_token}"}
            if key is not None:
                headers = dpop.headers(key, access_token, "GET", url, now=now, nonce=nonce)
            return http.get(url, reach=found.reach, headers=headers)

        answer = ask(None) if key is None else dpop.asked(url, ask)
        if answer.status != 200:
            raise ProviderUnavailable("The provider gives no userinfo now.", Code.USERINFO_STATUS)
        return answer.content()


class Plain(Configured):
    """Signs in with OAuth 2.0 alone: who it is, the userinfo says."""

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Ignore an id token: no issuer is configured by which it could be judged."""
        __traceback_hide__ = True
        response = {name: each for name, each in kwargs["response"].items() if name != "id_token"}
        return super().complete_login(request, app, token, **kwargs | {"response": response})
