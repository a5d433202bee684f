"""A person's accounts and their stored tokens, as shown on pages; disconnecting accounts.

Takes allauth's providers and accounts, the session's token sets and the upstreams; returns names,
scopes and times, never a token.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.base import Provider
from allauth.socialaccount.views import ConnectionsView
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import transaction
from django.db.models import TextChoices
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from gateway_site.rules.upstream import Upstream
from oauth import (
    OAuthError,
    ReauthenticationRequired,
    TokenSet,
    aget_token,
    load_token_set,
    unless_ended,
)
from oauth.provider.config import NEVER, find_provider
from sessions_kms import StoreUnavailable


def accepts_clients(upstream: Upstream) -> bool:
    """Return True if OAuth clients, such as those of MCP, may call an upstream."""
    return upstream.clients and settings.AUTHORIZATION_SERVER is not None


def upstream_path(upstream: Upstream) -> str:
    """Return the path of an upstream at the gateway, with its first allowed path."""
    return f"/gateway/{upstream.name}" + (upstream.paths[0] if upstream.paths else "")


def upstream_url(request: HttpRequest, upstream: Upstream) -> str:
    """Return the upstream's URL. For clients it starts with the issuer, as in the metadata."""
    server = settings.AUTHORIZATION_SERVER
    if server is not None and upstream.clients:
        return f"{server.issuer}{upstream_path(upstream)}"
    root = reverse("home").rstrip("/")
    return request.build_absolute_uri(root + upstream_path(upstream))


# Scopes that providers grant under another name.
# https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps#normalized-scopes
GRANTED_AS = {
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
    "user:email": "user",
    "read:user": "user",
}
# The scope of refresh tokens (OpenID Connect Core 1.0 section 11); many responses do not list it.
OFFLINE_ACCESS = "offline_access"
RENEWAL_TIMEOUT = 2.0  # seconds


class Status(TextChoices):
    """The state of a provider connection in this session."""

    NONE = "none", _("Not connected")
    ABSENT = "absent", _("Connected, but without a token in this session")
    HELD = "held", _("Connected")
    RENEWABLE = "renewable", _("Token expired; it will be renewed when it is next used")
    REAUTHENTICATE = "reauthenticate", _("Token expired; please re-authenticate")


@dataclass(frozen=True)
class Account:
    """An account at a provider, as described at sign-in."""

    id: int
    name: str
    email: str
    holds_token: bool


@dataclass(frozen=True)
class CallableUpstream:
    """An upstream that the person may call, and its URL at the gateway."""

    name: str
    address: str


@dataclass(frozen=True)
class Connection:
    """One configured provider. Without a token, `upstreams` and all later fields are empty."""

    provider: str
    name: str
    sign_in_url: str
    accounts: tuple[Account, ...]
    status: Status
    upstreams: tuple[CallableUpstream, ...] = ()
    scope: tuple[str, ...] = ()
    missing_scope: tuple[str, ...] = ()
    expires_at: datetime | None = None
    renewable: bool = False

    @property
    def has_token(self) -> bool:
        """Whether this session has a token set, expired or not."""
        return self.status not in {Status.NONE, Status.ABSENT}

    @property
    def is_expired(self) -> bool:
        """Whether the access token has expired."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    @property
    def needs_sign_in(self) -> bool:
        """Whether the person must sign in at the provider before any call."""
        return self.status in {Status.NONE, Status.ABSENT, Status.REAUTHENTICATE}


def connections_of(request: HttpRequest) -> list[Connection]:
    """Return a connection for each configured provider, by name.

    An expired token is refreshed, because nothing else shows whether that still works.
    """
    providers = sorted(get_adapter().list_providers(request), key=lambda found: str(found.name))
    accounts = list(SocialAccount.objects.filter(user=request.user).order_by("pk"))
    return [_connection(request, provider, accounts) for provider in providers]


def describe_account(
    provider: Provider, account: SocialAccount, held: TokenSet | None = None
) -> Account:
    """Describe an account with the provider's data."""
    wrapped = provider.wrap_account(account)
    email = str((wrapped.get_user_data() or {}).get("email") or "")
    name = str(wrapped)
    return Account(
        id=account.pk,
        name=name,
        email="" if name == email else email,
        holds_token=held is not None and held.subject == account.uid,
    )


def missing_scope(held: TokenSet, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes that were requested and not granted."""
    granted = set(held.scope)
    if held.refresh_token is not None:
        granted.add(OFFLINE_ACCESS)
    return tuple(scope for scope in wanted if not granted & {scope, GRANTED_AS.get(scope, scope)})


def _connection(
    request: HttpRequest, provider: Provider, accounts: list[SocialAccount]
) -> Connection:
    name: str = provider.sub_id
    refused = _is_renewal_refused(request, name)
    held = load_token_set(request.session, name)
    own = [account for account in accounts if account.provider == name]
    described = {
        "provider": name,
        "name": str(provider.name),
        "sign_in_url": provider.get_login_url(request),
        "accounts": tuple(describe_account(provider, account, held) for account in own),
    }
    if held is None:
        return Connection(**described, status=Status.ABSENT if own else Status.NONE)
    return Connection(
        **described,
        status=Status.REAUTHENTICATE if refused else status_of(name, held),
        upstreams=_callable_upstreams(request, name, held),
        scope=held.scope,
        missing_scope=missing_scope(held, provider.get_scope()),
        expires_at=None
        if held.expires_at is None
        else datetime.fromtimestamp(held.expires_at, UTC),
        renewable=held.refresh_token is not None,
    )


def _is_renewal_refused(request: HttpRequest, provider: str) -> bool:
    """Return True if an expired token cannot be refreshed; wait at most RENEWAL_TIMEOUT."""
    held = load_token_set(request.session, provider)
    if held is None or status_of(provider, held) != Status.RENEWABLE:
        return False

    async def renewed() -> None:
        await asyncio.wait_for(aget_token(request, provider), RENEWAL_TIMEOUT)

    try:
        async_to_sync(renewed)()
    except ReauthenticationRequired:
        return True
    except (OAuthError, StoreUnavailable, TimeoutError):
        pass  # Unknown until the token is next used.
    return False


def status_of(provider: str, held: TokenSet) -> Status:
    """Return the state of a token set, from what is stored."""
    if unless_ended(provider, held) is None:
        return Status.REAUTHENTICATE
    if not _is_past(held.expires_at):
        return Status.HELD
    if held.refresh_token is None or _is_past(held.refresh_expires_at):
        return Status.REAUTHENTICATE
    return Status.RENEWABLE


def _callable_upstreams(
    request: HttpRequest, provider: str, held: TokenSet
) -> tuple[CallableUpstream, ...]:
    return tuple(
        CallableUpstream(upstream.name, upstream_url(request, upstream))
        for upstream in settings.UPSTREAMS.values()
        if upstream.provider == provider
        and ("GET" in upstream.methods or accepts_clients(upstream))
        and upstream.allows(held.groups)
    )


def _is_past(end: int | None) -> bool:
    return end is not None and end <= datetime.now(UTC).timestamp()


def _is_revoked(account: SocialAccount) -> bool:
    """Return True if the provider is asked to revoke tokens when an account is disconnected."""
    provider = find_provider(account.provider)
    return provider is not None and provider.when_revoked != NEVER


@method_decorator(never_cache, name="dispatch")
class DisconnectView(ConnectionsView):  # type: ignore[misc]  # allauth has no types
    """Asks about the account in the query, or about each; allauth's view handles the POST.

    allauth rejects disconnecting the last account, which would lock its owner out.
    """

    success_url = reverse_lazy("home")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the accounts whose provider is still configured, with its name."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        providers = {found.sub_id: found for found in get_adapter().list_providers(self.request)}
        accounts = [
            account for account in self._requested_accounts() if account.provider in providers
        ]
        context["accounts"] = [
            (
                providers[account.provider].name,
                describe_account(providers[account.provider], account),
            )
            for account in accounts
        ]
        context["revokes"] = any(map(_is_revoked, accounts))
        return context

    def form_valid(self, form: Any) -> HttpResponse:
        """Disconnect if the session can be stored without the tokens."""
        with transaction.atomic():
            response: HttpResponse = super().form_valid(form)
            try:
                self.request.session.save()
            except UpdateError:
                raise SessionInterrupted("The session has ended.") from None
        return response

    def _requested_accounts(self) -> list[SocialAccount]:
        """Return the accounts to ask about. Raises Http404 for one that is not the person's."""
        own = SocialAccount.objects.filter(user=self.request.user).order_by("pk")
        account_id = self.request.POST.get("account") or self.request.GET.get("account")
        if account_id is None:
            return list(own)
        found = [account for account in own if str(account.pk) == account_id]
        if not found:
            raise Http404
        return found
