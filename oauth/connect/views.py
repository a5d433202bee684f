"""The pages that connect and disconnect an MCP server."""

from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required, login_required
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from oauth.connect import failures, flow
from oauth.connect.requested_scopes import RequestedScopes
from oauth.connect.wanted_scopes import drop_wanted, load_wanted
from oauth.exceptions import OAuthError
from oauth.logout.deferred_revocation import remove_tokens
from oauth.mcp.discovery import discover
from oauth.mcp.provider import provider_of
from oauth.mcp.registrations import registration_for
from oauth.mcp.servers import McpServer, find_server
from oauth.sign_in import click_delay
from oauth.sign_in.failures import safe_url
from oauth.sign_in.views import NEXT_URL_MAX
from oauth.tokens import vault
from sessions_kms.services import services

SCOPE_FIELD = "scope"  # form field: the scopes that the page named


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def connect(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Say what connecting means (GET), or go to the authorization server (POST)."""
    server = find_server_or_404(provider_id)
    next_url = _next_url(request)
    wanted = load_wanted(request.session, server.name).scopes
    if request.method != "POST":
        return _connect_page(request, server, wanted, next_url)
    if click_delay.is_too_soon(request):
        messages.warning(request, click_delay.TOO_SOON)
        return _connect_page(request, server, wanted, next_url)
    try:
        discovered = discover(server)
        held = vault.load_token_set(request.session, server.name)
        requested = RequestedScopes.of(discovered, held, wanted)
        named = tuple(request.POST.get(SCOPE_FIELD, "").split())
        if not requested.are_named(named):
            return _connect_page(request, server, requested.to_name, next_url)
        registration = registration_for(
            discovered, flow.callback_url(request, server), requested.scopes
        )
    except OAuthError as exc:
        return failures.failure_page(request, server, exc, next_url)
    return flow.begin(request, discovered, registration, scopes=requested.scopes, next_url=next_url)


@login_not_required
@never_cache
@require_GET
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Handle the response of the authorization server."""
    server = find_server_or_404(provider_id)
    if not (request.user.is_authenticated and request.user.is_active):
        return failures.stray_callback(request, server)
    return failures.private(flow.complete(request, server))


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def disconnect(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Ask (GET), or drop the tokens, which may be revoked at the end of the request (POST)."""
    server = find_server_or_404(provider_id)
    if request.method != "POST":
        held = vault.load_token_set(request.session, server.name)
        when_revoked = None if held is None else provider_of(server, held).when_revoked
        context = {"server": server, "revocation": when_revoked}
        return render(request, "oauth/disconnect.html", context)
    if remove_tokens(services(), request, server.name):
        messages.success(request, _("%(server)s is disconnected.") % {"server": server.label})
    drop_wanted(request.session, server.name)
    return HttpResponseRedirect(resolve_url("home"))


def find_server_or_404(name: str) -> McpServer:
    """Return a server by its name. Raises Http404 if there is none."""
    if (server := find_server(name)) is None:
        raise Http404
    return server


def _next_url(request: HttpRequest) -> str | None:
    """Return where to go afterwards. Raises SuspiciousOperation, which becomes a 400."""
    given = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME)
    if given and len(given.encode(errors="surrogatepass")) > NEXT_URL_MAX:
        raise SuspiciousOperation(f"The address to go to is over {NEXT_URL_MAX:,} bytes long.")
    return safe_url(given)


def _connect_page(
    request: HttpRequest, server: McpServer, scopes: tuple[str, ...], next_url: str | None
) -> HttpResponse:
    context = {
        "server": server,
        "host": failures.host_of(server.url),
        "scopes": scopes,
        "scope": " ".join(scopes),
        "next_field": REDIRECT_FIELD_NAME,
        "next_url": next_url,
        "is_connected": vault.load_token_set(request.session, server.name) is not None,
    }
    return render(request, "oauth/connect.html", context)
