"""One connection: `begin` leads to the authorization server, `complete` takes its response.

The request is that of RFC 6749 section 4.1.1, with RFC 7636 and RFC 8707. If the issuer's metadata
requires it, it is pushed, and the browser gets a reference to it only (RFC 9126).

Nothing of the response is shown or used before its issuer is checked (RFC 9207): one of two servers
could otherwise pass on the code or the error of the other ("mix-up", RFC 9700 section 4.4).

`authorized` is sent before a token set is stored in the browser's session, as allauth sends
`pre_social_login`. A receiver that began the connection itself (``pending``) takes the token set,
and raises ImmediateHttpResponse with its own response.

A connection that replaces another does not revoke it: some servers revoke everything of a person
and client with it, so also the new one.
"""

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from allauth.core.exceptions import ImmediateHttpResponse
from django.contrib import messages
from django.contrib.auth import SESSION_KEY
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.translation import gettext as _

from oauth.codes import Code
from oauth.connect import failures, state, wanted_scopes
from oauth.connect.exchange import exchange_code
from oauth.connect.state import PendingConnection
from oauth.exceptions import OAuthError, ProviderRefused
from oauth.formats import hash_text
from oauth.logout.deferred_revocation import revoke_unused
from oauth.mcp.discovery import OFFLINE_ACCESS, Discovered
from oauth.mcp.provider import provider_of_registration
from oauth.mcp.registration import Registration
from oauth.mcp.servers import McpServer
from oauth.metrics import count_connection
from oauth.provider.pushed_requests import push_request
from oauth.provider.token_set import TokenSet
from oauth.sign_in.failures import safe_url
from oauth.sign_in.oauth2_adapter import exchanges, reject_large_tokens, reject_unreadable
from oauth.tokens import vault
from oauth.tokens.revocation import save_or_revoke
from sessions_kms import Leases, SessionTooLarge
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services

logger = logging.getLogger(__name__)

# `request`, `server`, `token_set`, `state` (the PendingConnection).
authorized = Signal()

ONCE = ("code", "error", "iss", "state")  # parameters of the response (RFC 6749 section 3.1)
COMPLETED_WITHIN = 120  # seconds from the response until the session is saved without its state


def callback_url(request: HttpRequest, server: McpServer) -> str:
    """Return the redirect URI of a server, which no other server has."""
    return request.build_absolute_uri(reverse("oauth_connect_callback", args=[server.name]))


def begin(
    request: HttpRequest,
    discovered: Discovered,
    registration: Registration,
    *,
    scopes: tuple[str, ...],
    next_url: str | None = None,
    pending: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Store the state and return the page that continues at the authorization server.

    A page, because the policy of a form applies to the redirects after it. ``next_url`` is where
    the person goes afterwards; ``pending`` is passed to the receivers of `authorized`.
    """
    __traceback_hide__ = True
    server, metadata = discovered.server, discovered.metadata
    begun = PendingConnection(
        server=server.name,
        user=str(request.user.pk),
        issuer=discovered.issuer,
        token_endpoint=metadata.token_endpoint,
        states_issuer=metadata.iss_supported,
        client_id=registration.client_id,
        resource=discovered.resource,
        callback=registration.redirect_uri,
        verifier=secrets.token_urlsafe(48),  # RFC 7636 section 4.1
        scopes=scopes,
        begun_at=int(services().clock()),
        next_url=safe_url(next_url),
        pending=pending,
    )
    try:
        name = state.store_state(request.session, begun)
    except state.StateTooLarge:
        refused = ProviderRefused("An address of the server is too long.", Code.METADATA_UNREADABLE)
        return failures.failure_page(request, server, refused, begun.next_url)
    try:
        address = authorization_address(discovered, registration, begun, name)
    except OAuthError as exc:
        state.drop_state(request.session, name)
        return failures.failure_page(request, server, exc, begun.next_url)
    context = {"server": server, "place": failures.host_of(address), "address": address}
    return failures.private(render(request, "oauth/connect_onward.html", context))


def complete(request: HttpRequest, server: McpServer) -> HttpResponse:
    """Handle the response of the authorization server, and store the token set."""
    __traceback_hide__ = True
    if any(len(request.GET.getlist(name)) > 1 for name in ONCE):
        return failures.stray_callback(request, server)
    begun = state.take_state(
        request.session,
        request.GET.get("state", ""),
        server=server.name,
        user=str(request.user.pk),
        now=services().clock(),
    )
    if begun is None:
        return failures.stray_callback(request, server)
    if not _is_first(request.GET["state"]):
        return HttpResponseRedirect(begun.next_url or resolve_url("home"))
    try:
        check_issuer(begun, request.GET.get("iss"))
        if (error := request.GET.get("error")) is not None:
            return _rejected(request, server, begun, error)
        if not (code := request.GET.get("code")):
            raise ProviderRefused("The response has no code.", Code.CODE_MISSING)
        token_set = exchange_code(server, begun, code)
        if token_set.is_too_large:
            user_id = request.session.get(SESSION_KEY)
            reject_large_tokens(request, server.name, token_set, user_id)
    except OAuthError as exc:
        return failures.failure_page(request, server, exc, begun.next_url)
    return _store(request, server, begun, token_set)


def _is_first(name: str) -> bool:
    """Return True for the first request with a state. Raises StoreUnavailable.

    When a page is reloaded, the second request loads the session before the first one has saved it.
    Servers end a connection whose code they get twice (RFC 6749 section 4.1.2).
    """
    __traceback_hide__ = True
    lease = hashlib.sha256(b"oauth/1/connecting\0" + name.encode()).hexdigest()[:32]
    holder = secrets.token_hex(16)
    return run_sync(Leases(services()).claim(lease, holder, seconds=COMPLETED_WITHIN)).held


def check_issuer(begun: PendingConnection, stated: str | None) -> None:
    """Compare the issuer of a response with the state's (RFC 9207 section 2.4).

    Raises ProviderRefused, also if there is none although the server announced one.
    """
    if stated is None and not begun.states_issuer:
        return
    if stated != begun.issuer:
        raise ProviderRefused("The response is not of this issuer.", Code.RESPONSE_ISSUER)


def _rejected(
    request: HttpRequest, server: McpServer, begun: PendingConnection, error: str
) -> HttpResponse:
    code = Code.of_error("authorization", error)
    if code is not Code.AUTHORIZATION_ACCESS_DENIED:
        raise ProviderRefused("The server returned an error.", code)
    count_connection(server.name, code)
    text = _("%(server)s was not connected, because you did not allow it there.")
    messages.info(request, text % {"server": server.label})
    return HttpResponseRedirect(begun.next_url or resolve_url("home"))


def _store(
    request: HttpRequest, server: McpServer, begun: PendingConnection, token_set: TokenSet
) -> HttpResponse:
    __traceback_hide__ = True
    if begun.pending is not None:  # A grant outlives this session, and its groups.
        token_set = replace(token_set, groups=vault.groups_of_sign_in(request.session))
    try:
        authorized.send(
            sender=None, request=request, server=server, token_set=token_set, state=begun
        )
    except ImmediateHttpResponse as taken:
        count_connection(server.name)
        response: HttpResponse = taken.response
        return response
    if begun.pending is not None:
        revoke_unused(request, server.name, token_set, request.session.get(SESSION_KEY))
        refused = ProviderRefused("Nobody takes this connection.", Code.STATE_UNKNOWN)
        return failures.failure_page(request, server, refused, begun.next_url)
    wanted = wanted_scopes.load_wanted(request.session, server.name)
    if wanted.is_due:
        done = wanted.connected(token_set.granted_at)
        wanted_scopes.store_wanted(request.session, server.name, done)
    replaced = vault.load_token_set(request.session, server.name)
    vault.store_token_set(request.session, server.name, token_set)
    try:
        is_held = save_or_revoke(services(), request.session, server.name, token_set, replaced)
    except SessionTooLarge:
        count_connection(server.name, Code.SESSION_FULL)
        raise
    if not is_held:
        count_connection(server.name, Code.STATE_UNKNOWN)
        text = _("%(server)s was disconnected meanwhile, and stays disconnected.")
        messages.info(request, text % {"server": server.label})
        return HttpResponseRedirect(begun.next_url or resolve_url("home"))
    count_connection(server.name)
    logger.info("A person connected %s.", server.name)
    messages.success(request, _("%(server)s is connected.") % {"server": server.label})
    return HttpResponseRedirect(begun.next_url or resolve_url("home"))


def authorization_address(
    discovered: Discovered, registration: Registration, begun: PendingConnection, state: str
) -> str:
    """Return the address for the browser. ``state`` is the name of the stored state.

    Raises ProviderUnavailable, ProviderRefused and StoreUnavailable if the request has to be
    pushed, and cannot be.
    """
    __traceback_hide__ = True
    parameters: Mapping[str, str] = _parameters(begun, state)
    if discovered.metadata.requires_pushing:
        reference = _push(discovered, registration, parameters)
        parameters = {"client_id": begun.client_id, "request_uri": reference}
    endpoint = discovered.metadata.authorization_endpoint or ""
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def _parameters(begun: PendingConnection, state: str) -> dict[str, str]:
    __traceback_hide__ = True
    parameters = {
        "response_type": "code",
        "client_id": begun.client_id,
        "redirect_uri": begun.callback,
        "state": state,
        "code_challenge": hash_text(begun.verifier),
        "code_challenge_method": "S256",
        "resource": begun.resource,
    }
    if begun.scopes:
        parameters["scope"] = " ".join(begun.scopes)
    if OFFLINE_ACCESS in begun.scopes:
        parameters["prompt"] = "consent"  # OpenID Connect Core section 11
    return parameters


def _push(discovered: Discovered, registration: Registration, parameters: Mapping[str, str]) -> str:
    """Push the request and return its `request_uri`, as `push_request` does."""
    __traceback_hide__ = True
    server = discovered.server
    provider = provider_of_registration(server, registration, discovered.resource)
    with exchanges.slot(server.name), reject_unreadable():
        return push_request(provider, discovered.metadata, parameters, clock=services().clock)
