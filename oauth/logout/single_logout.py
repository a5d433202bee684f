"""Signing out at the provider as well (OpenID Connect RP-Initiated Logout 1.0).

`sign_out` calls allauth's sign-out first, which does not depend on the provider. Then, if single
logout is configured, the browser is sent to the provider's end-session endpoint, and from there
back to `signed_out`. Only a person who returns with the state that was sent sees that they are
signed out there too. The state is stored in a signed cookie, since the session has just ended and a
new one would be a record of somebody who has left.

The browser is sent by GET: a POST from another site does not carry the provider's cookie if that is
`SameSite=Lax`, so the provider would find nobody signed in and report success. The browser follows
a link, because the Content-Security-Policy allows links to any host.

The id token is sent as a hint, as the standard recommends, because providers otherwise ask the
person. It is in none of our URLs; by then the session holds no tokens and they are being revoked.
With `post` the hint is not in the provider's logs or the browser's history either; with `no-hint`
it is not sent, for a provider whose id tokens are accepted as credentials elsewhere.
"""

import logging
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
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from oauth.exceptions import ProviderUnavailable
from oauth.network import concurrency
from oauth.network.concurrency import release_sql_connections
from oauth.provider import config, metadata
from oauth.provider.config import COGNITO, HINTED, POSTED, ProviderConfig
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault

logger = logging.getLogger(__name__)

RETURN_WITHIN = 600  # seconds
SALT = "oauth.logout_state"

METADATA_WAIT = 1.0  # seconds; the provider's metadata is usually cached
ADDRESS_MAX = 7000  # characters; nginx and Apache reject a request line over 8 KB


def store_logout_state(response: HttpResponse, provider: str, state: str) -> None:
    """Store the provider and the state in a signed cookie."""
    response.set_cookie(
        logout_cookie_name(),
        signing.dumps([provider, state], salt=SALT),
        max_age=RETURN_WITHIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",  # so that it is sent when the provider redirects back
    )


def verify_logout_state(request: HttpRequest) -> str | None:
    """Return the provider that the browser returns from; None if the state is not ours."""
    try:
        provider, state = signing.loads(
            request.COOKIES.get(logout_cookie_name(), ""), salt=SALT, max_age=RETURN_WITHIN
        )
    except (signing.BadSignature, TypeError, ValueError):
        return None
    return str(provider) if constant_time_compare(state, request.GET.get("state", "")) else None


def delete_logout_state(response: HttpResponse) -> None:
    """Delete the state's cookie: it is used once."""
    response.delete_cookie(logout_cookie_name(), samesite="Lax")


def logout_cookie_name() -> str:
    """Return OAUTH_LOGOUT_COOKIE_NAME, or by default a name that sibling domains cannot set."""
    prefix = "__Host-" if settings.SESSION_COOKIE_SECURE else ""
    return getattr(settings, "OAUTH_LOGOUT_COOKIE_NAME", prefix + "oauth-logout")


@dataclass(frozen=True)
class _ProviderSession:
    """The provider to sign out at, and the token set that the session held for it."""

    provider: ProviderConfig
    token_set: TokenSet


@login_not_required
@never_cache
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out here, then send the browser to the provider to sign out there, if configured."""
    ending = _find_provider_session(request) if request.method == "POST" else None
    response: HttpResponse = local_sign_out(request)
    if request.method == "POST" and SESSION_KEY in request.session:
        logout(request)  # allauth does not end a session whose user it does not know.
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
    """Handle the return from the provider, and show where the person is signed out.

    A person who has signed in again meanwhile sees no message.
    """
    response = redirect("home")
    if request.user.is_authenticated:
        return response
    name = verify_logout_state(request)
    provider = config.find_provider(name) if name is not None else None
    if provider is None:
        messages.info(request, _("You are signed out here."))
    else:
        delete_logout_state(response)
        text = _("You are signed out here, and at %(provider)s too.")
        messages.success(request, text % {"provider": provider.label})
    return response


def _find_provider_session(request: HttpRequest) -> _ProviderSession | None:
    """Return the provider that the person signed in with, or else a connected one."""
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
    """Return the end-session endpoint, if the metadata is cached or can be fetched quickly."""
    if (cached := metadata.cached_metadata(provider)) is not None:
        return cached.end_session_endpoint
    future = concurrency.run_in_background(lambda: metadata.load_metadata(provider))
    release_sql_connections()
    try:
        return future.result(METADATA_WAIT).end_session_endpoint
    except (TimeoutError, CancelledError, ProviderUnavailable):
        logger.warning("Could not sign out at %s: its metadata is not available.", provider.name)
        return None


def _end_session_response(request: HttpRequest, ending: _ProviderSession, url: str) -> HttpResponse:
    __traceback_hide__ = True
    provider = ending.provider
    back = request.build_absolute_uri(reverse("oauth_signed_out"))
    if COGNITO.fullmatch(provider.issuer or ""):
        # It uses other parameters, accepts only GET, and does not return the state.
        # https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html
        fields = {"client_id": provider.client_id, "logout_uri": back}
        return _render_page(request, provider, {"address": _add_parameters(url, fields)})
    state = secrets.token_urlsafe(32)
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
    request: HttpRequest, provider: ProviderConfig, target: Mapping[str, object]
) -> HttpResponse:
    __traceback_hide__ = True
    # Every variable of the template is set: at DEBUG, Django logs the whole context of a miss.
    return render(request, "oauth/single_logout.html", {"provider": provider, **target})


def _add_parameters(url: str, fields: Mapping[str, str]) -> str:
    """Return the URL with these parameters added to its query."""
    __traceback_hide__ = True
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(fields))))
    return urlunsplit(parts._replace(query=query, fragment=""))
