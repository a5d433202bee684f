"""The home page, the sign-in page, and the site's logo.

With `SKIP_PROVIDER_BUTTON` and a single provider, the sign-in page redirects to the provider at
once. It does not do so after a sign-out, because a provider with a session would sign the person in
again, nor after a failed sign-in, because that could loop forever.
"""

from datetime import UTC, datetime
from typing import cast

from allauth.account.utils import user_display
from allauth.account.views import login
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.sessions.backends.base import SessionBase
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding.thread_pools import calls_provider, personal
from gateway_site.pages.connections import connections_of
from gateway_site.pages.servers import server_connections
from gateway_site.pages.sessions import count_sessions
from gateway_site.rules import origin
from oauth import SIGN_IN_AGAIN
from oauth.sign_in.views import redirect_to_provider
from sessions_kms import SessionStore
from sessions_kms.session.cookies import without_session


@login_not_required
@without_session
@require_safe
@cache_control(public=True, max_age=3600)
def site_logo(request: HttpRequest) -> HttpResponse:
    """Serve the operator's logo. The Content-Security-Policy disables scripts in an SVG."""
    found = settings.SITE_LOGO
    if found is None or not found.content:
        raise Http404
    return HttpResponse(found.content, content_type=found.kind)


def only_provider() -> str | None:
    """Return the provider that the sign-in page redirects to, or None."""
    found = [each.name for each in settings.OAUTH_PROVIDERS]
    return found[0] if settings.SKIP_PROVIDER_BUTTON and len(found) == 1 else None


@calls_provider(only_provider)
@login_not_required
@never_cache
def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Offer the providers, or redirect to the only one."""
    if not skips_provider_button(request):
        response = cast("HttpResponse", login(request))
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            response.context_data["has_ended_session"] = has_ended_session(request)
        return response
    [provider] = get_adapter().list_providers(request)
    return redirect_to_provider(request, get_adapter().get_provider(request, provider.sub_id))


def skips_provider_button(request: HttpRequest) -> bool:
    """Return True if the sign-in page redirects this visitor to the only provider."""
    return (
        only_provider() is not None
        and not request.user.is_authenticated
        and not request.COOKIES.get(settings.SIGNED_OUT_COOKIE_NAME)
        and SIGN_IN_AGAIN not in request.GET
        and origin.is_navigation(request)
        and "Sec-Purpose" not in request.headers  # a prefetched page
    )


def has_ended_session(request: HttpRequest) -> bool:
    """Return True if the browser sent the cookie of a session that has ended, however it did.

    A cookie that no session can have does not count; nobody knows whether a key was made up.
    """
    if request.user.is_authenticated or request.session.session_key is not None:
        return False  # asking for the user has loaded the session
    cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return cookie is not None and type(request.session)(cookie).session_key is not None


@personal
@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Offer a sign-in for each provider, or show the connections."""
    if not request.user.is_authenticated:
        return (
            redirect("account_login")
            if skips_provider_button(request)
            else render(request, "home.html", {"has_ended_session": has_ended_session(request)})
        )
    connections, servers = connections_of(request), server_connections(request)
    if settings.AUTHORIZATION_SERVER is not None:
        _announce_new_apps(request)
    context = {
        "connect": AuthProcess.CONNECT,
        "display_name": user_display(request.user),
        "connections": connections,
        "servers": servers,
        "can_call": any(connection.upstreams for connection in connections)
        or any(server.upstreams for server in servers),
        # The last account is the only way to sign in: allauth rejects disconnecting it.
        "removable": sum(len(connection.accounts) for connection in connections) > 1,
        "session_end": _session_end(request.session),
    }
    return render(request, "home.html", context)


def _announce_new_apps(request: HttpRequest) -> None:
    from gateway_site.pages.apps import announce_new_apps  # noqa: PLC0415 - only where clients are allowed

    if (sessions := count_sessions(request)) is not None:
        announce_new_apps(request, sessions.newest)


def _session_end(session: SessionBase) -> datetime:
    """Return this session's absolute end; without such a limit, its expiry when idle."""
    absolute = cast("SessionStore", session).absolute_end()
    return (absolute or session.get_expiry_date()).astimezone(UTC)
