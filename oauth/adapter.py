"""allauth's hooks: which providers exist, how they are called, and how failures are shown."""

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
from oauth.metrics import count_sign_in
from oauth.provider import config
from oauth.provider.metadata import reach_of
from oauth.sign_in import accounts, failures, views
from oauth.sign_in.failures import get_request_id
from oauth.sign_in.oauth2_adapter import add_resource, mount_bounded_adapter
from oauth.sign_in.openid_adapter import adapter_class_for, add_nonce, set_account_identity

logger = logging.getLogger(__name__)

RETRY_AFTER = 30  # seconds
RETRY_AFTER_BUSY = 5  # seconds
APPS = "_oauth_apps"  # the request's attribute for the apps that were found
APP_FIELDS = ("name", "provider_id", "client_id", "secret", "key", "settings")
CERTIFICATE = "certificate_key"  # Apple's
# RFC 6749 section 4.1.2.1: the errors by which a provider says that it is down.
DOWN = frozenset({Code.AUTHORIZATION_SERVER_ERROR, Code.AUTHORIZATION_TEMPORARILY_UNAVAILABLE})


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Uses providers from the settings only, with adapters that capture the tokens."""

    def list_apps(
        self,
        request: HttpRequest | None,
        provider: str | None = None,
        client_id: str | None = None,
    ) -> list[SocialApp]:
        """Leave out apps of the database, which have plaintext secrets and no PKCE.

        allauth calls this a dozen times per sign-in, and for each page; it makes no SQL query.
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
        """Return the provider with our OAuth 2.0 adapter.

        Tokens that a client posts are not accepted: they would not belong to the session, and
        allauth would fetch keys for each.
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
            if configured is not None and configured.resource is not None:
                add_resource(provider, configured.resource)
        views.limit_pending_states(provider)
        return provider

    def get_requests_session(self) -> requests.Session:
        """Return an HTTP session whose responses are limited in time and size.

        It can connect to the networks that are allowed for this request's provider. OpenID
        providers are called differently (`oauth.sign_in.openid_adapter`).
        """
        match = getattr(self.request, "resolver_match", None)
        name = match.kwargs.get("provider_id") if match else None
        reach = reach_of(config.find_provider(name) if name else None)
        return mount_bounded_adapter(super().get_requests_session(), reach)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Note the sign-in, which may coincide with another one of the same new account.

        A user that was created in advance gets the profile from the provider.
        """
        accounts.note_new_account(request, sociallogin)
        if accounts.was_created_ahead(sociallogin):
            profile = sociallogin.provider.extract_common_fields(sociallogin.account.extra_data)
            self.populate_user(request, sociallogin, profile)
            accounts.fill_in_profile(request, sociallogin)

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Create users without a form, unless the project requires one."""
        accounts.drop_taken_names(sociallogin)
        return bool(super().is_auto_signup_allowed(request, sociallogin))

    def save_user(
        self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None
    ) -> AbstractBaseUser:
        """Create a user with the account and addresses, or none of them.

        The transaction begins with a write: after a read, SQLite would fail immediately while
        another one is writing, instead of waiting.
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
        """Return the URL to show after another account was connected."""
        return resolve_url("home")

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Provider,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """Show and log the reason; an unavailable provider has a separate page.

        All these pages keep the URL that the sign-in was to lead to.
        """
        if isinstance(exception, SignInRefused):
            state = (extra_context or {}).get("state") or {}
            raise ImmediateHttpResponse(failures.refusal_page(request, provider, exception, state))
        next_url = failures.requested_next_url(request)
        context = {} if extra_context is None else extra_context
        code = _code(request, exception, is_ours=bool(context.get("state")))
        count_sign_in(provider.sub_id, code)
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
        # For the page that allauth renders next.
        context |= {
            "code": code,
            "request_id": get_request_id(request),
            "sign_in_url": failures.sign_in_url(next_url),
        }
        down = isinstance(exception, requests.RequestException | ProviderUnavailable)
        if down or code in DOWN:
            raise ImmediateHttpResponse(_unavailable(request, provider, code, next_url))


def _apps_of_settings() -> Iterator[SocialApp]:
    """Yield the apps in SOCIALACCOUNT_PROVIDERS, as allauth reads it.

    https://docs.allauth.org/en/latest/socialaccount/provider_configuration.html
    """
    for kind, configured in app_settings.PROVIDERS.items():
        apps = configured.get("APPS")
        if apps is None:
            apps = [configured["APP"]] if configured.get("APP") is not None else []
        for app in apps:
            fields = {name: app[name] for name in APP_FIELDS if name in app}
            if CERTIFICATE in app:  # its place before it moved into the app's settings
                moved = {CERTIFICATE: app[CERTIFICATE]}
                fields["settings"] = {**fields.get("settings", {}), **moved}
            yield SocialApp(provider=kind, **fields)


def _code(request: HttpRequest, exception: Exception | None, *, is_ours: bool) -> Code:
    """Return the reason; ``is_ours`` means that the state is one given to this browser."""
    if isinstance(exception, ProviderUnavailable | ProviderRefused):
        return exception.code
    if isinstance(exception, requests.RequestException):
        return Code.USERINFO_STATUS  # the only such request (`oauth.sign_in.oauth2_adapter`)
    if isinstance(exception, OAuth2Error):
        return Code.TOKEN_OTHER
    if exception is not None:
        return Code.NOT_PERMITTED
    if not is_ours:
        return Code.STATE_UNKNOWN
    error = request.GET.get("error")
    return Code.CODE_MISSING if error is None else Code.of_error("authorization", error)


def _described(exception: Exception | None) -> str:
    """Return our own message, or only the class: `OAuth2Error` contains a response's body."""
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
