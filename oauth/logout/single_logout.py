"""Signing out of the provider as well (OpenID Connect RP-Initiated Logout 1.0).

Stands in front of allauth's sign-out. That comes first and does not depend on the
provider; then, where single logout is configured, the browser is led to the
provider's end-session endpoint, and back to `returned`. Only who comes back with the
state that was sent along is told that the provider was left too.

The browser is led by GET: in a POST from another site a provider does not see its own
cookie where that is `SameSite=Lax`, finds nobody signed in, and says that it is done. It
follows a link, which the Content-Security-Policy lets lead to any host.

The id token goes along as a hint, as the standard recommends, since providers ask the
person otherwise. It is in no address of ours; by then the tokens are out of the session
and being revoked. With `post` it is in no history and in no log of the provider either;
with `no-hint` it stays here, for a provider whose id tokens are credentials elsewhere.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from allauth.account.authentication import get_authentication_records
from allauth.account.views import logout as local_sign_out
from django.contrib import messages
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from oauth.exceptions import ProviderUnavailable
from oauth.logout import logout_state
from oauth.network import background
from oauth.network.sql_connections import give_back
from oauth.provider import config, metadata
from oauth.provider.config import HINTED, POSTED, Provider
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault

logger = logging.getLogger(__name__)

METADATA_WAIT = 1.0  # seconds; the provider's metadata is usually known
ADDRESS_MAX = 7000  # characters; nginx and Apache refuse a request line over 8 KB
# It has parameters of its own, takes a GET only, and gives no state back.
# https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html
COGNITO = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.*")


@dataclass(frozen=True)
class _Ending:
    """The provider that is left too, and the token set that was held for it."""

    provider: Provider
    token_set: TokenSet


@login_not_required
@never_cache
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out here, then lead to the provider to sign out there, if that is configured."""
    ending = _ending(request) if request.method == "POST" else None
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
    return _leading(request, ending, url)


@login_not_required
@never_cache
@require_GET
def returned(request: HttpRequest) -> HttpResponse:
    """Take the person back from the provider, and say what they are signed out of.

    Somebody who has signed in again meanwhile is told nothing.
    """
    response = redirect("home")
    if request.user.is_authenticated:
        return response
    name = logout_state.provider_left(request)
    provider = config.provider(name) if name is not None else None
    if provider is None:
        messages.info(request, "You are signed out here.")
    else:
        logout_state.forget(response)
        messages.success(request, f"You are signed out here, and at {provider.label} too.")
    return response


def _ending(request: HttpRequest) -> _Ending | None:
    """Return the provider that the person signed in with, or else one that is connected."""
    if not request.user.is_authenticated:
        return None
    signed_in_with = [record.get("provider") for record in get_authentication_records(request)]
    names = sorted(vault.providers(request.session), key=lambda name: name not in signed_in_with)
    for name in names:
        provider, held = config.provider(name), vault.load(request.session, name)
        if provider is not None and provider.single_logout and held is not None:
            return _Ending(provider, held)
    return None


def _end_session_endpoint(provider: Provider) -> str | None:
    """Return where the provider ends its session, if that is known or soon found out."""
    if (known := metadata.known(provider)) is not None:
        return known.end_session_endpoint
    looked_up = background.submit(lambda: metadata.of(provider))
    give_back()
    try:
        return looked_up.result(METADATA_WAIT).end_session_endpoint
    except (TimeoutError, CancelledError, ProviderUnavailable):
        logger.warning("%s cannot be asked to end its session now.", provider.name)
        return None


def _leading(request: HttpRequest, ending: _Ending, url: str) -> HttpResponse:
    __traceback_hide__ = True
    provider = ending.provider
    back = request.build_absolute_uri(reverse("oauth_signed_out"))
    if COGNITO.fullmatch(provider.issuer or ""):
        fields = {"client_id": provider.client_id, "logout_uri": back}
        return _page(request, provider, {"address": _address(url, fields)})
    state = logout_state.new()
    fields = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": back,
        "state": state,
    }
    hint = ending.token_set.id_token if provider.single_logout in HINTED else None
    hinted = fields | ({} if hint is None else {"id_token_hint": hint})
    if provider.single_logout in POSTED:
        response = _page(request, provider, {"address": None, "url": url, "fields": hinted})
    else:
        address = _address(url, hinted)
        if len(address) > ADDRESS_MAX:
            address = _address(url, fields)
        response = _page(request, provider, {"address": address})
    logout_state.keep(response, provider.name, state)
    return response


def _page(request: HttpRequest, provider: Provider, way: Mapping[str, object]) -> HttpResponse:
    __traceback_hide__ = True
    # Whatever the template asks for is there: Django logs the whole context otherwise, at DEBUG.
    return render(request, "oauth/single_logout.html", {"provider": provider, **way})


def _address(url: str, fields: Mapping[str, str]) -> str:
    """Return the endpoint with the parameters, beside those that it has already."""
    __traceback_hide__ = True
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(fields))))
    return urlunsplit(parts._replace(query=query, fragment=""))
