"""Admin rights from a provider's groups, granted and withdrawn at each sign-in.

A group gives rights only together with its provider: at some providers, anybody can create a group
"admins". Rights from the command `staff` are not changed (see `oauth.models`).
"""

import logging
from collections.abc import Iterable
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db import DatabaseError, transaction
from django.db.models import F
from django.db.models.signals import post_delete
from django.dispatch import receiver

from oauth.models import GroupRights
from oauth.network.concurrency import release_sql_connections
from oauth.provider import config
from oauth.sign_in import accounts
from oauth.signals import rights_changed
from oauth.tokens.fresh_token import account_refused

logger = logging.getLogger(__name__)

FLAGS = ("is_staff", "is_superuser")
Rights = dict[str, bool]


def update_rights(account: SocialAccount, groups: Iterable[str]) -> None:
    """Grant the rights of an account's groups to its user, and withdraw those of former groups."""
    wanted = _rights_of_groups(account.provider, frozenset(groups))
    rows = GroupRights.objects.filter(account__user=account.user_id)
    if not any(wanted.values()) and not rows.exists():
        return
    with transaction.atomic():
        user = _lock_user(account.user_id)
        before = _read_flags(user)
        mine = rows.filter(pk=account.pk).first()
        others = list(rows.exclude(pk=account.pk))
        by_hand = {flag: before[flag] and not _is_granted([*others, mine], flag) for flag in FLAGS}
        own = {flag: wanted[flag] and not by_hand[flag] for flag in FLAGS}
        for flag in FLAGS:
            setattr(user, flag, by_hand[flag] or own[flag] or _is_granted(others, flag))
        user.save(update_fields=FLAGS)
        GroupRights.objects.update_or_create(account=account, defaults=own)
    if before != _read_flags(user):
        logger.warning(
            "The groups of an account at %s changed the rights of user %s in the admin: %s.",
            account.provider,
            user.pk,
            _read_flags(user),
        )
        by = f"groups at {account.provider}"
        rights_changed.send_robust(sender=None, user=user, by=by, fields=list(FLAGS))


def make_rights_permanent(user: AbstractUser, flags: Iterable[str]) -> None:
    """Keep these flags of a user regardless of groups, as if they were set by hand."""
    GroupRights.objects.filter(account__user=user.pk).update(**dict.fromkeys(flags, False))


def rights_by_groups(user: AbstractUser) -> list[GroupRights]:
    """Return the rights that a user has only because of groups."""
    rows = GroupRights.objects.filter(account__user=user.pk).select_related("account")
    return [row for row in rows.order_by("pk") if row.is_staff or row.is_superuser]


@receiver(post_delete, sender=GroupRights, dispatch_uid="oauth.take_rights")
def withdraw_rights(instance: GroupRights, **kwargs: Any) -> None:
    """Withdraw rights that came only from an account whose row was deleted."""
    user_id = instance.account.user_id
    rows = list(GroupRights.objects.filter(account__user=user_id).exclude(pk=instance.pk))
    taken = {
        flag: False for flag in FLAGS if getattr(instance, flag) and not _is_granted(rows, flag)
    }
    users = get_user_model()._default_manager.filter(pk=user_id)
    if taken and users.update(**taken):
        rights_changed.send_robust(
            sender=None, user=users.get(), by="the end of an account", fields=list(taken)
        )


@receiver(account_refused, dispatch_uid="oauth.take_refused")
def withdraw_refused_rights(provider: str, subject: str, **kwargs: Any) -> None:
    """Withdraw the rights of the account's groups: its user may have another account."""
    try:
        account = accounts.find_account(provider, subject)
        if account is not None:
            update_rights(account, ())
    except DatabaseError as exc:
        logger.warning("Could not withdraw rights by groups: %s.", type(exc).__name__)
    finally:
        release_sql_connections()


def _rights_of_groups(provider: str, groups: frozenset[str]) -> Rights:
    configured = config.find_provider(provider)
    if configured is None:
        return dict.fromkeys(FLAGS, False)
    superuser = bool(groups & configured.admission.superuser_groups)
    return {
        "is_staff": superuser or bool(groups & configured.admission.staff_groups),
        "is_superuser": superuser,
    }


def _lock_user(user_id: Any) -> AbstractUser:
    """Return a user, locked until the end of the transaction.

    This writes before it reads, because SQLite rejects a write after another one has happened since
    the read. Rights from providers that no longer grant any are withdrawn first.
    """
    users = get_user_model()._default_manager.filter(pk=user_id)
    users.update(is_staff=F("is_staff"))
    granting = {
        each.name
        for each in config.all_providers()
        if each.admission.staff_groups or each.admission.superuser_groups
    }
    rows = GroupRights.objects.filter(account__user=user_id)
    rows.exclude(account__provider__in=granting).delete()
    user: AbstractUser = users.get()
    return user


def _read_flags(user: AbstractUser) -> Rights:
    return {flag: getattr(user, flag) for flag in FLAGS}


def _is_granted(rows: Iterable[GroupRights | None], flag: str) -> bool:
    return any(getattr(row, flag) for row in rows if row is not None)
