"""The start and the end of a sign-in; these views replace allauth's at the same URLs.

allauth's callback creates its adapter itself, so our own callback is needed to capture the tokens;
the rest of the flow is allauth's.

Anybody can start any number of sign-ins without an account, and allauth stores the query and the
form of each in the session. The session is read on every request, so only a few small states are
kept.

Some providers send their response as a form (OAuth 2.0 Form Post Response Mode). The browser posts
it from the provider's page, and sends no `SameSite=Lax` cookie with a POST from another site. So
that POST signs nobody in: the fields of the callback are passed on by a redirect to the same URL
with GET, where the browser sends the cookies again. The other fields are dropped, such as the name
that Apple lets the browser send: anybody could have written it.
https://openid.net/specs/oauth-v2-form-post-response-mode-1_0.html
"""

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import requests
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base import AuthProcess, Provider, ProviderException
from allauth.socialaccount.providers.base.utils import respond_to_login_on_get
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.utils import get_request_param
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth import REDIRECT_FIELD_NAME as NEXT
from django.contrib.auth.decorators import login_not_required
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SuspiciousOperation
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

from oauth.network.responses import read_posted_form
from oauth.provider import config
from oauth.sign_in import accounts, click_delay, failures, prompts
from sessions_kms import AnonymousSessionTooLarge

STATES_MAX = 10  # sign-ins of one session
STATES_SIZE_MAX = 8 * 1024  # bytes of all of them, serialized
NEXT_URL_MAX = 2000  # bytes
PROCESSES = frozenset({AuthProcess.LOGIN, AuthProcess.CONNECT, AuthProcess.REDIRECT})
PLACEHOLDER_ID = "x" * statekit.STATE_ID_LENGTH  # for an id that allauth has not chosen yet

FORWARDED_FIELDS = ("code", "state", "error", "iss")  # RFC 9207 names the last
FORWARDED_VALUE_MAX = 2048  # characters

# Query parameters by which allauth would let a visitor change the authorization request.
DROPPED_PARAMETERS = ("scope", "auth_params", "action")
PROVIDER_ERRORS = (requests.RequestException, ProviderException, OAuth2Error)


def check_parameters(request: HttpRequest) -> None:
    """Reject parameters that our pages never send, before anything is fetched or stored.

    Raises SuspiciousOperation, which becomes a 400.
    """
    process = get_request_param(request, "process")
    if process and process not in PROCESSES:
        raise SuspiciousOperation("Unknown process of a sign-in.")
    address = get_request_param(request, REDIRECT_FIELD_NAME) or ""
    if len(address.encode(errors="surrogatepass")) > NEXT_URL_MAX:
        raise SuspiciousOperation(
            f"The address after a sign-in is over {NEXT_URL_MAX:,} bytes long."
        )


def limit_pending_states(provider: Provider) -> None:
    """Limit the states that a provider's sign-ins store in a session: drop the oldest first."""
    stash = provider.stash_redirect_state

    def stash_redirect_state(
        request: HttpRequest, process: str, next_url: str | None = None, *args: Any, **more: Any
    ) -> Any:
        __traceback_hide__ = True
        state = {"process": process, "next": next_url, "data": args, **more}
        _drop_old_states(request, provider.sub_id, state)
        return stash(request, process, next_url, *args, **more)

    provider.stash_redirect_state = stash_redirect_state


def _drop_old_states(request: HttpRequest, provider: str, state: Mapping[str, Any]) -> None:
    """Drop the oldest states until a new one fits. Raises AnonymousSessionTooLarge."""
    __traceback_hide__ = True
    states = statekit.get_states(request)
    by_age = sorted(states, key=lambda each: states[each][1], reverse=True)
    kept = {each: states[each] for each in by_age[: STATES_MAX - 1]}
    new = {PLACEHOLDER_ID: (state, time.time(), provider)}
    while (size := _serialized_size(request.session, kept | new)) > STATES_SIZE_MAX:
        if not kept:
            raise AnonymousSessionTooLarge(size, STATES_SIZE_MAX)
        kept.popitem()
    if len(kept) < len(states):
        request.session[statekit.STATES_SESSION_KEY] = kept


def _serialized_size(session: SessionBase, states: Mapping[str, Any]) -> int:
    __traceback_hide__ = True
    return len(session.serializer().dumps({statekit.STATES_SESSION_KEY: states}))


def redirect_posted_response(request: HttpRequest) -> HttpResponse:
    """Return a redirect to the callback, or a 400; this neither reads nor creates a session."""
    try:
        fields = read_posted_form(request)
    except ValueError:
        return HttpResponse("This is no response of a provider.", "text/plain", 400)
    kept = {name: fields[name] for name in FORWARDED_FIELDS if name in fields}
    if any(len(values) > 1 or len(values[0]) > FORWARDED_VALUE_MAX for values in kept.values()):
        return HttpResponse("This is no response of a provider.", "text/plain", 400)
    query = urlencode({name: values[0] for name, values in kept.items()})
    response = HttpResponseRedirect(f"{request.path}?{query}")
    response.status_code = HTTPStatus.SEE_OTHER
    return response


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Show a confirmation page (GET), or redirect to the provider (POST)."""
    check_parameters(request)
    provider = get_provider_or_404(request, provider_id)
    confirmation: HttpResponse | None = respond_to_login_on_get(request, provider)
    if confirmation is None and _is_connecting(request) and click_delay.is_too_soon(request):
        messages.warning(request, click_delay.TOO_SOON)
        return HttpResponseRedirect(_confirmation_url(request))
    return confirmation or redirect_to_provider(request, provider)


def redirect_to_provider(request: HttpRequest, provider: OAuth2Provider) -> HttpResponse:
    """Redirect to the provider; after the sign-in, the person gets to the request's `next`."""
    check_parameters(request)
    query = request.GET.copy()
    for name in DROPPED_PARAMETERS:
        query.pop(name, None)
    if prompts.asks_for_another_account(request):
        query["auth_params"] = prompts.another_account_parameters(provider)
    request.GET = query  # type: ignore[assignment]  # Django's own attribute takes a copy too
    return show_provider_errors(request, provider, lambda: provider.redirect_from_request(request))


@csrf_exempt  # a POST changes nothing
@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Handle the authorization response; allauth checks the state, and signs in or connects."""
    if request.method == "POST":
        configured = config.find_provider(provider_id)
        if configured is None or not configured.posts_responses:
            return HttpResponseNotAllowed(["GET"])
        return redirect_posted_response(request)
    provider = get_provider_or_404(request, provider_id)
    if (elsewhere := failures.redirect_stray_callback(request, provider.sub_id)) is not None:
        return elsewhere
    view = _CallbackView.adapter_view(provider.get_oauth2_adapter(request))
    return show_provider_errors(
        request, provider, lambda: accounts.complete_with_retries(request, lambda: view(request))
    )


class _CallbackView(OAuth2CallbackView):  # type: ignore[misc]  # allauth has no types
    """allauth's callback, which also checks the issuer of a code or an error."""

    def _get_state(
        self, request: HttpRequest, provider: OAuth2Provider
    ) -> tuple[dict[str, Any] | None, HttpResponse | None]:
        """Return the state of the response, which can be used once, or a page.

        An error from another issuer must not be shown as this provider's (RFC 9207 section 2.4).
        Raises ProviderRefused and ProviderUnavailable.
        """
        state, page = super()._get_state(request, provider)
        if state is not None:
            self.adapter.check_issuer()
        return state, page


def _is_connecting(request: HttpRequest) -> bool:
    """Return True if the request would connect an account to the signed-in user."""
    process = get_request_param(request, "process")
    return process == AuthProcess.CONNECT and request.user.is_authenticated


def _confirmation_url(request: HttpRequest) -> str:
    """Return the URL of the page that asks again whether to connect the account."""
    given = {"process": AuthProcess.CONNECT, NEXT: get_request_param(request, NEXT)}
    return f"{request.path}?{urlencode({name: value for name, value in given.items() if value})}"


def show_provider_errors(
    request: HttpRequest, provider: OAuth2Provider, view: Callable[[], HttpResponse]
) -> HttpResponse:
    """Return the view's response; an error page if the provider fails or rejects."""
    try:
        return view()
    except PROVIDER_ERRORS as error:
        page: HttpResponse = render_authentication_error(request, provider, exception=error)
        return page


def get_provider_or_404(request: HttpRequest, provider_id: str) -> OAuth2Provider:
    """Return a provider by its name. Raises Http404 if there is none."""
    try:
        provider = get_adapter().get_provider(request, provider_id)
    except SocialApp.DoesNotExist:
        raise Http404 from None
    if not isinstance(provider, OAuth2Provider):
        raise Http404
    return provider
