"""allauth's hooks: which providers there are, how they are asked, and what a failure looks like."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode

import requests
from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount import app_settings
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthError, Provider
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url

from oauth.codes import Code, remedy
from oauth.exceptions import ProviderRefused, ProviderUnavailable, SignInRefused
from oauth.provider import config
from oauth.provider.metadata import reach_of
from oauth.sign_in import accounts, failures, views
from oauth.sign_in.failures import get_request_id
from oauth.sign_in.oauth2_adapter import mount_bounded_adapter
from oauth.sign_in.openid_adapter import adapter_class_for, add_nonce, set_account_identity

logger = logging.getLogger(__name__)

RETRY_AFTER = 30  # seconds
RETRY_AFTER_BUSY = 5  # seconds
APPS = "_oauth_apps"  # the request's attribute for what was found for it
APP_FIELDS = ("name", "provider_id", "client_id", "secret", "key", "settings")
CERTIFICATE = "certificate_key"  # Apple's
# RFC 6749 section 4.1.2.1: the provider's own words for being down.
DOWN = frozenset({Code.AUTHORIZATION_SERVER_ERROR, Code.AUTHORIZATION_TEMPORARILY_UNAVAILABLE})


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Providers from the settings only, asked through adapters that capture the tokens."""

    def list_apps(
        self,
        request: HttpRequest | None,
        provider: str | None = None,
        client_id: str | None = None,
    ) -> list[SocialApp]:
        """Leave out apps of the database: they hold their secret in plain text, PKCE off.

        allauth asks a dozen times in a sign-in, and at each page; the database is not asked.
        """
        known = {} if request is None else request.__dict__.setdefault(APPS, {})
        asked = provider, client_id
        if asked not in known:
            known[asked] = [
                app
                for app in _apps_of_settings()
                if provider in {None, "", app.provider, app.provider_id}
                and client_id in {None, "", app.client_id}
            ]
        return list(known[asked])

    def get_provider(self, *args: Any, **kwargs: Any) -> Provider:
        """Return the provider, its OAuth 2.0 adapter replaced by ours.

        Tokens that a client posts are not taken: they would be none of the session's, and
        allauth fetches keys for each.
        """
        provider = super().get_provider(*args, **kwargs)
        configured = config.find_provider(provider.sub_id)
        has_issuer = configured is not None and configured.issuer is not None
        if isinstance(provider, OpenIDConnectProvider) and configured is not None:
            set_account_identity(provider, configured)
            if has_issuer:
                add_nonce(provider)
        if isinstance(provider, OAuth2Provider):
            own = adapter_class_for(provider.oauth2_adapter_class, has_issuer=has_issuer)
            provider.oauth2_adapter_class = own
            provider.supports_token_authentication = False
        views.limit_pending_states(provider)
        return provider

    def get_requests_session(self) -> requests.Session:
        """Return a session whose answers are bounded in time and size.

        It reaches the networks that the provider of this request may; OpenID providers are
        asked otherwise (`oauth.sign_in.openid_adapter`).
        """
        match = getattr(self.request, "resolver_match", None)
        name = match.kwargs.get("provider_id") if match else None
        reach = reach_of(config.find_provider(name) if name else None)
        return mount_bounded_adapter(super().get_requests_session(), reach)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Note the sign-in, which may meet another one of the same new account.

        Somebody who was made ahead of it gets the name that the provider tells.
        """
        accounts.note_new_account(request, sociallogin)
        if accounts.was_created_ahead(sociallogin):
            told = sociallogin.provider.extract_common_fields(sociallogin.account.extra_data)
            self.populate_user(request, sociallogin, told)
            accounts.fill_in_profile(request, sociallogin)

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Save somebody new without a form, unless the project wants one."""
        accounts.drop_taken_names(sociallogin)
        return bool(super().is_auto_signup_allowed(request, sociallogin))

    def save_user(
        self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None
    ) -> AbstractBaseUser:
        """Save somebody new whole or not at all.

        Nothing is read within the transaction before it has written: SQLite would refuse
        it at once, where it waits for others otherwise.
        """
        if form is not None:
            return cast("AbstractBaseUser", super().save_user(request, sociallogin, form))
        user: AbstractBaseUser = sociallogin.user
        user.set_unusable_password()
        get_account_adapter(request).populate_username(request, user)
        with transaction.atomic():
            sociallogin.save(request)
        return user

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: SocialAccount) -> str:
        """Return where to go after another account was connected."""
        return resolve_url("home")

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Provider,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """Say why, on the page and in the log; a provider that is down has a page of its own.

        From each of them the way on is kept.
        """
        if isinstance(exception, SignInRefused):
            state = (extra_context or {}).get("state") or {}
            raise ImmediateHttpResponse(failures.refusal_page(request, provider, exception, state))
        next_url = failures.requested_next_url(request)
        context = {} if extra_context is None else extra_context
        code = _code(request, exception, answered=bool(context.get("state")))
        logger.log(
            logging.INFO if error == AuthError.CANCELLED else logging.WARNING,
            "Sign-in with %s did not work (%s), request %s: %s %s",
            provider.sub_id,
            code,
            get_request_id(request),
            _described(exception),
            "" if error == AuthError.CANCELLED else _remedy(code, provider),
        )
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(_cancelled(next_url))
        # Of the page to come.
        context |= {
            "code": code,
            "request_id": get_request_id(request),
            "sign_in_url": failures.sign_in_url(next_url),
        }
        down = isinstance(exception, requests.RequestException | ProviderUnavailable)
        if down or code in DOWN:
            raise ImmediateHttpResponse(_unavailable(request, provider, code, next_url))


def _apps_of_settings() -> Iterator[SocialApp]:
    """Yield what SOCIALACCOUNT_PROVIDERS declares, as allauth reads it.

    https://docs.allauth.org/en/latest/socialaccount/provider_configuration.html
    """
    for kind, configured in app_settings.PROVIDERS.items():
        apps = configured.get("APPS")
        if apps is None:
            apps = [configured["APP"]] if configured.get("APP") is not None else []
        for app in apps:
            fields = {name: app[name] for name in APP_FIELDS if name in app}
            if CERTIFICATE in app:  # where it was before it belonged to the settings
                moved = {CERTIFICATE: app[CERTIFICATE]}
                fields["settings"] = {**fields.get("settings", {}), **moved}
            yield SocialApp(provider=kind, **fields)


def _code(request: HttpRequest, exception: Exception | None, *, answered: bool) -> Code:
    """Return why; a request is ``answered`` whose state this browser was given."""
    if isinstance(exception, ProviderUnavailable | ProviderRefused):
        return exception.code
    if isinstance(exception, requests.RequestException):
        return Code.USERINFO_STATUS  # which alone is asked so (`oauth.sign_in.oauth2_adapter`)
    if isinstance(exception, OAuth2Error):
        return Code.TOKEN_OTHER
    if exception is not None:
        return Code.NOT_PERMITTED
    if not answered:
        return Code.STATE_UNKNOWN
    error = request.GET.get("error")
    return Code.CODE_MISSING if error is None else Code.of_answer("authorization", error)


def _described(exception: Exception | None) -> str:
    """Return our own words, or the kind alone: `OAuth2Error` holds the body of an answer."""
    if exception is None:
        return "The callback brought no usable response."
    if isinstance(exception, ProviderUnavailable | ProviderRefused):
        return str(exception)
    return f"{type(exception).__name__}."


def _remedy(code: Code, provider: Provider) -> str:
    return remedy(code).replace("<NAME>", str(provider.sub_id).upper())


def _cancelled(next_url: str | None) -> HttpResponse:
    query = f"?{urlencode({REDIRECT_FIELD_NAME: next_url})}" if next_url else ""
    return redirect(resolve_url("socialaccount_login_cancelled") + query)


def _unavailable(request: HttpRequest, provider: Provider, code: Code, next_url: str | None) -> Any:
    busy = code is Code.BUSY
    response = render(
        request,
        "oauth/provider_unavailable.html",
        {
            "provider": provider,
            "busy": busy,
            "code": code,
            "request_id": get_request_id(request),
            "sign_in_url": failures.sign_in_url(next_url),
        },
        status=HTTPStatus.SERVICE_UNAVAILABLE,
    )
    response["Retry-After"] = str(RETRY_AFTER_BUSY if busy else RETRY_AFTER)
    return response
