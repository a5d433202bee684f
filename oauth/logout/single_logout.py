"""Signing out of the provider as well (OpenID Connect RP-Initiated Logout 1.0).

Runs before allauth's sign-out, which comes first and does not depend on the provider. Then, where
single logout is configured, the browser is led to the provider's end-session endpoint, and from
there back to `signed_out`. Only somebody who comes back with the state that was sent is told that
they are signed out there too. The state is kept in a signed cookie, since the session has just
ended, and a new one would be a record of somebody who has left.

The browser is led by GET: in a POST from another site a provider does not see its own cookie if
that is `SameSite=Lax`, finds nobody signed in, and says that it is done. The browser follows a
link, which the Content-Security-Policy allows to lead to any host.

The id token is sent as a hint, as the standard recommends, since providers ask the person
otherwise. It is in no address of ours; by then the tokens are out of the session and being revoked.
With `post` it is not in the provider's logs or the browser's history either; with `no-hint` it is
not sent, for a provider whose id tokens are credentials elsewhere.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from allauth.account.authentication import get_authentication_records
from allauth.account.views import logout as local_sign_out
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from oauth.exceptions import ProviderUnavailable
from oauth.network import concurrency
from oauth.network.concurrency import release_sql_connections
from oauth.provider import config, metadata
from oauth.provider.config import HINTED, POSTED, ProviderConfig
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault

logger = logging.getLogger(__name__)

RETURN_WITHIN = 600  # seconds
SALT = "oauth.logout_state"

METADATA_WAIT = 1.0  # seconds; the provider's metadata is usually known
ADDRESS_MAX = 7000  # characters; nginx and Apache refuse a request line over 8 KB
# It has parameters of its own, takes a GET only, and gives no state back.
# https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html
COGNITO = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.*")


def new_logout_state() -> str:
    """Return a state that nobody can guess."""
    return secrets.token_urlsafe(32)


def store_logout_state(response: HttpResponse, provider: str, state: str) -> None:
    """Have the browser remember which provider it is led to, and with which state."""
    response.set_cookie(
        logout_cookie_name(),
        signing.dumps([provider, state], salt=SALT),
        max_age=RETURN_WITHIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",  # it comes along when the provider leads the browser back
    )


def verify_logout_state(request: HttpRequest) -> str | None:
    """Return the provider that this request comes back from; None where the state is not ours."""
    try:
        provider, state = signing.loads(
            request.COOKIES.get(logout_cookie_name(), ""), salt=SALT, max_age=RETURN_WITHIN
        )
    except (signing.BadSignature, TypeError, ValueError):
        return None
    return str(provider) if constant_time_compare(state, request.GET.get("state", "")) else None


def delete_logout_state(response: HttpResponse) -> None:
    """Have the browser forget the state, which serves once."""
    response.delete_cookie(logout_cookie_name(), samesite="Lax")


def logout_cookie_name() -> str:
    """Return the cookie's name: OAUTH_LOGOUT_COOKIE_NAME, or else one that no sibling can set."""
    prefix = "__Host-" if settings.SESSION_COOKIE_SECURE else ""
    return getattr(settings, "OAUTH_LOGOUT_COOKIE_NAME", prefix + "oauth-logout")


@dataclass(frozen=True)
class _ProviderSession:
    """The provider that is left too, and the token set that was held for it."""

    provider: ProviderConfig
    token_set: TokenSet


@login_not_required
@never_cache
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out here, then lead to the provider to sign out there, if that is configured."""
    ending = _find_provider_session(request) if request.method == "POST" else None
    response: HttpResponse = local_sign_out(request)
    if request.method == "POST" and SESSION_KEY in request.session:
        logout(request)  # allauth leaves a session whose person it was not told.
    if (
        ending is None
        or request.user.is_authenticated
        or not isinstance(response, HttpResponseRedirect)
        or (url := _end_session_endpoint(ending.provider)) is None
    ):
        return response
    return _end_session_response(request, ending, url)


@login_not_required
@never_cache
@require_GET
def signed_out(request: HttpRequest) -> HttpResponse:
    """Take the person back from the provider, and say what they are signed out of.

    Somebody who has signed in again meanwhile is told nothing.
    """
    response = redirect("home")
    if request.user.is_authenticated:
        return response
    name = verify_logout_state(request)
    provider = config.find_provider(name) if name is not None else None
    if provider is None:
        messages.info(request, "You are signed out here.")
    else:
        delete_logout_state(response)
        messages.success(request, f"You are signed out here, and at {provider.label} too.")
    return response


def _find_provider_session(request: HttpRequest) -> _ProviderSession | None:
    """Return the provider that the person signed in with, or else one that is connected."""
    if not request.user.is_authenticated:
        return None
    signed_in_with = [record.get("provider") for record in get_authentication_records(request)]
    names = sorted(
        vault.stored_providers(request.session), key=lambda name: name not in signed_in_with
    )
    for name in names:
        provider, held = config.find_provider(name), vault.load_token_set(request.session, name)
        if provider is not None and provider.single_logout and held is not None:
            return _ProviderSession(provider, held)
    return None


def _end_session_endpoint(provider: ProviderConfig) -> str | None:
    """Return where the provider ends its session, if that is known or soon found out."""
    if (known := metadata.cached_metadata(provider)) is not None:
        return known.end_session_endpoint
    looked_up = concurrency.run_in_background(lambda: metadata.load_metadata(provider))
    release_sql_connections()
    try:
        return looked_up.result(METADATA_WAIT).end_session_endpoint
    except (TimeoutError, CancelledError, ProviderUnavailable):
        logger.warning("%s cannot be asked to end its session now.", provider.name)
        return None


def _end_session_response(request: HttpRequest, ending: _ProviderSession, url: str) -> HttpResponse:
    __traceback_hide__ = True
    provider = ending.provider
    back = request.build_absolute_uri(reverse("oauth_signed_out"))
    if COGNITO.fullmatch(provider.issuer or ""):
        fields = {"client_id": provider.client_id, "logout_uri": back}
        return _render_page(request, provider, {"address": _add_parameters(url, fields)})
    state = new_logout_state()
    fields = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": back,
        "state": state,
    }
    hint = ending.token_set.id_token if provider.single_logout in HINTED else None
    hinted = fields | ({} if hint is None else {"id_token_hint": hint})
    if provider.single_logout in POSTED:
        response = _render_page(request, provider, {"address": None, "url": url, "fields": hinted})
    else:
        address = _add_parameters(url, hinted)
        if len(address) > ADDRESS_MAX:
            address = _add_parameters(url, fields)
        response = _render_page(request, provider, {"address": address})
    store_logout_state(response, provider.name, state)
    return response


def _render_page(
    request: HttpRequest, provider: ProviderConfig, way: Mapping[str, object]
) -> HttpResponse:
    __traceback_hide__ = True
    # Whatever the template asks for is there: Django logs the whole context otherwise, at DEBUG.
    return render(request, "oauth/single_logout.html", {"provider": provider, **way})


def _add_parameters(url: str, fields: Mapping[str, str]) -> str:
    """Return the endpoint with the parameters, beside those that it has already."""
    __traceback_hide__ = True
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(fields))))
    return urlunsplit(parts._replace(query=query, fragment=""))
