"""Signing out of the provider as well (OpenID Connect RP-Initiated Logout 1.0).

Stands in front of allauth's sign-out. That comes first and does not depend on the
provider; then, where single logout is configured, the browser is led to the
provider's end-session endpoint, and back to `returned`.

The id token goes along as a hint, as the standard recommends, since providers ask the
person otherwise. It is posted, so that it is in no address, history or log, and by
then the tokens are out of the session and being revoked. Whoever uses a provider whose
id tokens are accepted as credentials elsewhere sets `single_logout` to `no-hint`.
"""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError
from dataclasses import dataclass

from allauth.account.authentication import get_authentication_records
from allauth.account.views import logout as local_sign_out
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from oauth import background, endpoints, providers
from oauth import session as tokens
from oauth.exceptions import ProviderUnavailable
from oauth.providers import Provider
from oauth.sql_connections import give_back
from oauth.tokens import TokenSet

logger = logging.getLogger(__name__)

WITH_HINT, WITHOUT_HINT = "hint", "no-hint"
METADATA_WAIT = 1.0  # seconds; the provider's metadata is usually known
RETURN_WITHIN = 600  # seconds
SALT = "oauth.single_logout"


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
    """Take the person back from the provider, and say what was done if it was asked for here."""
    try:
        name = signing.loads(request.GET.get("state", ""), salt=SALT, max_age=RETURN_WITHIN)
    except signing.BadSignature:
        name = None
    provider = providers.provider(name) if isinstance(name, str) else None
    if provider is not None:
        messages.success(request, f"You are signed out of {provider.label} as well.")
    return redirect("home")


def _ending(request: HttpRequest) -> _Ending | None:
    """Return the provider that the person signed in with, or else one that is connected."""
    if not request.user.is_authenticated:
        return None
    signed_in_with = [record.get("provider") for record in get_authentication_records(request)]
    names = sorted(tokens.providers(request.session), key=lambda name: name not in signed_in_with)
    for name in names:
        provider, held = providers.provider(name), tokens.load(request.session, name)
        if provider is not None and provider.single_logout and held is not None:
            return _Ending(provider, held)
    return None


def _end_session_endpoint(provider: Provider) -> str | None:
    """Return where the provider ends its session, if that is known or soon found out."""
    if (known := endpoints.known(provider)) is not None:
        return known.end_session_endpoint
    looked_up = background.submit(lambda: endpoints.metadata(provider))
    give_back()
    try:
        return looked_up.result(METADATA_WAIT).end_session_endpoint
    except (TimeoutError, CancelledError, ProviderUnavailable):
        logger.warning("%s cannot be asked to end its session now.", provider.name)
        return None


def _leading(request: HttpRequest, ending: _Ending, url: str) -> HttpResponse:
    __traceback_hide__ = True
    provider = ending.provider
    fields = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": request.build_absolute_uri(reverse("oauth_signed_out")),
        "state": signing.dumps(provider.name, salt=SALT),
    }
    if provider.single_logout == WITH_HINT and ending.token_set.id_token is not None:
        fields["id_token_hint"] = ending.token_set.id_token
    context = {"provider": provider, "url": url, "fields": fields}
    return render(request, "oauth/single_logout.html", context)
