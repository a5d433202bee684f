"""What the pages may say of a person's accounts and of the tokens held for them.

allauth's providers, its accounts, the session's token sets and the declared upstreams
enter; names, scopes and times leave. No token leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.base import Provider
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db.models import TextChoices
from django.http import HttpRequest

from gateway_site.forwarding.ahead.page import Asked, taken
from gateway_site.forwarding.passage import NeedsThread, wait_in_thread
from gateway_site.pages.upstream_address import accepts_clients, address_of
from oauth import (
    OAuthError,
    ReauthenticationRequired,
    TokenSet,
    aget_token,
    astanding,
    standing,
    token_set_of,
)
from sessions_kms import StoreUnavailable

# Scopes that are granted under another name.
# https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps#normalized-scopes
GRANTED_AS = {
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
    "user:email": "user",
    "read:user": "user",
}
# It grants a refresh token (OpenID Connect Core 1.0 section 11); many answers do not list it.
OFFLINE_ACCESS = "offline_access"
RENEWAL_TIMEOUT = 2.0  # seconds


class Status(TextChoices):
    """How things stand between a person and a provider, in this session."""

    NONE = "none", "Not connected"
    ABSENT = "absent", "Connected, but this session holds no token"
    HELD = "held", "Connected"
    RENEWABLE = "renewable", "Token expired, to be renewed at its next use"
    REAUTHENTICATE = "reauthenticate", "Token expired: please re-authenticate"


@dataclass(frozen=True)
class Account:
    """An account at a provider, as the provider described it at sign-in."""

    id: int
    name: str
    email: str
    holds_token: bool


@dataclass(frozen=True)
class CallableUpstream:
    """An upstream that the person may call, and its address at the gateway."""

    name: str
    address: str


@dataclass(frozen=True)
class Connection:
    """One configured provider. Without a token all from `upstreams` on is empty."""

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
        """Whether this session holds a token set, expired or not."""
        return self.status not in {Status.NONE, Status.ABSENT}

    @property
    def is_expired(self) -> bool:
        """Whether the access token has expired."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    @property
    def needs_sign_in(self) -> bool:
        """Whether nothing can be called before the person signs in at the provider."""
        return self.status in {Status.NONE, Status.ABSENT, Status.REAUTHENTICATE}


def connections_of(request: HttpRequest) -> list[Connection]:
    """Return a connection for each configured provider, by name.

    A token that has expired is refreshed, since only that tells whether it can be.
    """
    providers = sorted(get_adapter().list_providers(request), key=lambda found: str(found.name))
    accounts = taken(request, "accounts", partial(_accounts_of, request.user))
    return [_connection(request, provider, accounts) for provider in providers]


async def accounts_ahead(asked: Asked) -> list[SocialAccount]:
    """Return the accounts of whoever asks, before their page does.

    Which grants were ended is known then; a token that has to be refreshed needs a thread.
    """
    for name in (each.name for each in settings.OAUTH_PROVIDERS):
        held = await astanding(name, token_set_of(asked.session, name))
        if held is not None and _status(name, held) == Status.RENEWABLE:
            raise NeedsThread
    return await asked.database(partial(_accounts_of, asked.user))


def _accounts_of(user: Any) -> list[SocialAccount]:
    return list(SocialAccount.objects.filter(user=user).order_by("pk"))


def account_of(provider: Provider, account: SocialAccount, held: TokenSet | None = None) -> Account:
    """Describe an account in the provider's words."""
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
    """Return what is asked of the provider and was not granted."""
    granted = set(held.scope)
    if held.refresh_token is not None:
        granted.add(OFFLINE_ACCESS)
    return tuple(scope for scope in wanted if not granted & {scope, GRANTED_AS.get(scope, scope)})


def _connection(
    request: HttpRequest, provider: Provider, accounts: list[SocialAccount]
) -> Connection:
    name: str = provider.sub_id
    refused = _refused_renewal(request, name)
    held = token_set_of(request.session, name)
    own = [account for account in accounts if account.provider == name]
    described = {
        "provider": name,
        "name": str(provider.name),
        "sign_in_url": provider.get_login_url(request),
        "accounts": tuple(account_of(provider, account, held) for account in own),
    }
    if held is None:
        return Connection(**described, status=Status.ABSENT if own else Status.NONE)
    return Connection(
        **described,
        status=Status.REAUTHENTICATE if refused else _status(name, held),
        upstreams=_callable(request, name, held),
        scope=held.scope,
        missing_scope=missing_scope(held, provider.get_scope()),
        expires_at=None
        if held.expires_at is None
        else datetime.fromtimestamp(held.expires_at, UTC),
        renewable=held.refresh_token is not None,
    )


def _refused_renewal(request: HttpRequest, provider: str) -> bool:
    """Tell whether an expired token is known not to be renewable; a page does not wait long."""
    held = token_set_of(request.session, provider)
    if held is None or _status(provider, held) != Status.RENEWABLE:
        return False
    wait_in_thread(request)

    async def renewed() -> None:
        await asyncio.wait_for(aget_token(request, provider), RENEWAL_TIMEOUT)

    try:
        async_to_sync(renewed)()
    except ReauthenticationRequired:
        return True
    except (OAuthError, StoreUnavailable, TimeoutError):
        pass  # Not known: its next use will show.
    return False


def _status(provider: str, held: TokenSet) -> Status:
    if standing(provider, held) is None:
        return Status.REAUTHENTICATE
    if not _is_over(held.expires_at):
        return Status.HELD
    if held.refresh_token is None or _is_over(held.refresh_expires_at):
        return Status.REAUTHENTICATE
    return Status.RENEWABLE


def _callable(request: HttpRequest, provider: str, held: TokenSet) -> tuple[CallableUpstream, ...]:
    return tuple(
        CallableUpstream(upstream.name, address_of(request, upstream))
        for upstream in settings.UPSTREAMS.values()
        if upstream.provider == provider
        and ("GET" in upstream.methods or accepts_clients(upstream))
        and upstream.allows(held.groups)
    )


def _is_over(end: int | None) -> bool:
    return end is not None and end <= datetime.now(UTC).timestamp()
