"""The start and the end of a sign-in, in front of allauth's own views of the same addresses.

allauth's callback names its adapter itself, so the capture of the tokens needs
a callback of ours; the rest of the flow is allauth's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import requests
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base import AuthProcess, ProviderException
from allauth.socialaccount.providers.base.utils import respond_to_login_on_get
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.utils import get_request_param
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME as NEXT
from django.contrib.auth.decorators import login_not_required
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from oauth.provider import config
from oauth.sign_in import click_delay, pending, prompts, signup_race, way_back
from oauth.sign_in.posted_answer import led_on

# What allauth lets a visitor add to the authorization request by the address.
VISITORS_WISHES = ("scope", "auth_params", "action")
ERRORS = (requests.RequestException, ProviderException, OAuth2Error)


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Ask for a confirmation (GET), or lead to the provider (POST)."""
    pending.check_wishes(request)
    provider = provider_of(request, provider_id)
    confirmation: HttpResponse | None = respond_to_login_on_get(request, provider)
    if confirmation is None and _connects(request) and click_delay.is_too_soon(request):
        messages.warning(request, click_delay.TOO_SOON)
        return HttpResponseRedirect(_confirmation_address(request))
    return confirmation or lead_to(request, provider)


def lead_to(request: HttpRequest, provider: OAuth2Provider) -> HttpResponse:
    """Lead to the provider, and from there to the request's `next`."""
    pending.check_wishes(request)
    query = request.GET.copy()
    for name in VISITORS_WISHES:
        query.pop(name, None)
    if prompts.asks_for_another_account(request):
        query["auth_params"] = prompts.another_account_parameters(provider)
    request.GET = query  # type: ignore[assignment]  # Django's own attribute takes a copy too
    return answered(request, provider, lambda: provider.redirect_from_request(request))


@csrf_exempt  # a POST changes nothing
@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take the provider's answer; allauth checks the state, and signs in or connects."""
    if request.method == "POST":
        configured = config.provider(provider_id)
        if configured is None or not configured.posts_answers:
            return HttpResponseNotAllowed(["GET"])
        return led_on(request)
    provider = provider_of(request, provider_id)
    if (elsewhere := way_back.stray(request, provider.sub_id)) is not None:
        return elsewhere
    view = _CallbackView.adapter_view(provider.get_oauth2_adapter(request))
    return answered(
        request, provider, lambda: signup_race.completed(request, lambda: view(request))
    )


class _CallbackView(OAuth2CallbackView):  # type: ignore[misc]  # allauth has no types
    """allauth's, which also checks who sent the response, be it a code or an error."""

    def _get_state(
        self, request: HttpRequest, provider: OAuth2Provider
    ) -> tuple[dict[str, Any] | None, HttpResponse | None]:
        """Return the state that the response names, which it uses up, or a page.

        An error of another issuer may not be shown as this provider's (RFC 9207 section 2.4).
        Raises ProviderRefused, and ProviderUnavailable.
        """
        state, page = super()._get_state(request, provider)
        if state is not None:
            self.adapter.check_issuer()
        return state, page


def _connects(request: HttpRequest) -> bool:
    """Return whether the request would add an account to the person who is signed in."""
    process = get_request_param(request, "process")
    return process == AuthProcess.CONNECT and request.user.is_authenticated


def _confirmation_address(request: HttpRequest) -> str:
    """Return the address of the page that asks once more whether to connect the account."""
    given = {"process": AuthProcess.CONNECT, NEXT: get_request_param(request, NEXT)}
    return f"{request.path}?{urlencode({name: value for name, value in given.items() if value})}"


def answered(
    request: HttpRequest, provider: OAuth2Provider, view: Callable[[], HttpResponse]
) -> HttpResponse:
    """Return what a view answers; a page for what a provider does not, or should not."""
    try:
        return view()
    except ERRORS as error:
        page: HttpResponse = render_authentication_error(request, provider, exception=error)
        return page


def provider_of(request: HttpRequest, provider_id: str) -> OAuth2Provider:
    """Return a provider by its name. Raises Http404 where there is none."""
    try:
        provider = get_adapter().get_provider(request, provider_id)
    except SocialApp.DoesNotExist:
        raise Http404 from None
    if not isinstance(provider, OAuth2Provider):
        raise Http404
    return provider
