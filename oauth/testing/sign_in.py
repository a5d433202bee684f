"""Somebody signed in with a provider, without a provider: the session is as after a sign-in."""

from collections.abc import Iterable

from allauth.account.internal.flows.login import record_authentication
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import AsyncClient, Client

from oauth.provider import config
from oauth.provider.config import ProviderConfig
from oauth.provider.token_set import TokenSet
from oauth.sign_in import accounts, rights
from oauth.tokens import vault
from sessions_kms.services import services


def signed_in(
    client: Client | AsyncClient,
    provider: str,
    *,
    access_token: str,
    refresh_token: str | None = None,
    expires_in: int | None = 3600,
    groups: Iterable[str] = (),
    subject: str = "1001",
    user: User | None = None,
) -> User:
    """Sign a client of Django's tests in with an account of a configured provider; return its user.

    `get_token` in a view then returns ``access_token``, which ends after ``expires_in`` seconds,
    or never. The account is the one of ``subject``; its user is ``user``, or a new one at its
    first sign-in. ``groups`` are those at the provider; as at a sign-in, only those count that the
    settings name, and they give rights in the admin. Call it outside of event loops, since it
    uses the database. Raises ValueError if the provider is not configured.
    """
    __traceback_hide__ = True
    configured = config.find_provider(provider)
    if configured is None:
        raise ValueError(f"SOCIALACCOUNT_PROVIDERS has no provider {provider!r}.")
    account = _find_or_create_account(provider, subject, user)
    now = int(services().clock())
    token_set = TokenSet(
        access_token=access_token,
        token_type="Bearer",  # noqa: S106 - no password
        scope=configured.scope,
        requested_scope=configured.scope,
        subject=subject,
        client_id=configured.client_id,
        refresh_token=refresh_token,
        expires_at=None if expires_in is None else now + expires_in,
        issued_at=now,
        granted_at=now,
        groups=_named_groups(configured, groups),
        resource=configured.resource,
    )
    rights.update_rights(account, token_set.groups)
    signed_in_user: User = get_user_model()._default_manager.get(pk=account.user_id)
    client.force_login(signed_in_user)
    _store(client, signed_in_user, provider, token_set)
    return signed_in_user


def _find_or_create_account(provider: str, subject: str, user: User | None) -> SocialAccount:
    account = accounts.find_account(provider, subject)
    if account is None:
        user = user or get_user_model().objects.create_user(f"{provider}-{subject}")
        account = SocialAccount.objects.create(provider=provider, uid=subject, user=user)
    elif user is not None and account.user_id != user.pk:
        raise ValueError(f"Subject {subject!r} at {provider} belongs to another user.")
    return account


def _named_groups(provider: ProviderConfig, groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(frozenset(groups) & provider.admission.named_groups))


def _store(client: Client | AsyncClient, user: User, provider: str, token_set: TokenSet) -> None:
    __traceback_hide__ = True
    request = HttpRequest()
    request.session = client.session
    record_authentication(request, user, "socialaccount", provider=provider, uid=token_set.subject)
    vault.store_token_set(request.session, provider, token_set)
    request.session.save()
