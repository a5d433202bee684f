"""Signals of Django, of the session engine and of oauth, recorded as events."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from allauth.account.signals import user_logged_in
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_delete
from django.dispatch import receiver

from gateway_site.audit import event
from gateway_site.audit.trail import is_configured, is_on, record
from oauth.signals import (
    grant_asserted,
    grant_created,
    grant_ended,
    rights_changed,
    sign_in_rejected,
)
from sessions_kms.signals import session_ended, session_opened

if TYPE_CHECKING:  # models: this is imported before all apps are ready
    from allauth.socialaccount.models import SocialLogin
    from django.contrib.auth.models import AbstractUser


def connect() -> None:
    """Listen to sessions that are read, if a log is configured, and to users that are deleted.

    Without a receiver nothing is remembered of sessions. With one for all models, Django would read
    every row that it deletes.
    """
    if is_configured():
        session_opened.connect(_record_opened, dispatch_uid="gateway_site.audit")
    with suppress(ImproperlyConfigured):  # a project without users
        post_delete.connect(
            _record_deleted_user, sender=get_user_model(), dispatch_uid="gateway_site.audit"
        )


def _record_opened(session: str, user_id: str | None, client_id: str | None, **_: Any) -> None:
    if user_id is not None:
        record(event.OPENED, session=session, person=user_id, client=client_id)


@receiver(user_logged_in, dispatch_uid="gateway_site.audit")
def _record_sign_in(
    user: "AbstractUser", sociallogin: "SocialLogin | None" = None, **_: Any
) -> None:
    provider = sociallogin.account.provider if sociallogin else None
    record(event.SIGNED_IN, person=str(user.pk), provider=provider)


@receiver(sign_in_rejected, dispatch_uid="gateway_site.audit")
def _record_rejected_sign_in(provider: str, code: str, **_: Any) -> None:
    record(event.SIGN_IN_REJECTED, provider=provider, code=code)


@receiver(grant_created, dispatch_uid="gateway_site.audit")
def _record_consent(**members: Any) -> None:
    _record_grant(event.CONSENT, **members)


@receiver(grant_asserted, dispatch_uid="gateway_site.audit")
def _record_assertion(**members: Any) -> None:
    _record_grant(event.ASSERTED, **members)


def _record_grant(
    name: str,
    *,
    session: str,
    user_id: str,
    client_id: str,
    upstream: str,
    provider: str,
    **_: Any,
) -> None:
    record(
        name,
        session=session,
        person=user_id,
        client=client_id,
        upstream=upstream,
        provider=provider,
    )


@receiver(session_ended, dispatch_uid="gateway_site.audit")
def _record_ended_session(session: str, reason: str | None = None, **_: Any) -> None:
    record(event.SESSION_ENDED, session=session, reason=reason)


@receiver(grant_ended, dispatch_uid="gateway_site.audit")
def _record_ended_grant(session: str, reason: str, **_: Any) -> None:
    record(event.GRANT_ENDED, session=session, reason=reason)


@receiver(rights_changed, dispatch_uid="gateway_site.audit")
def _record_changed_rights(user: "AbstractUser", by: str, fields: list[str], **_: Any) -> None:
    record(
        event.RIGHTS_CHANGED,
        person=str(user.pk),
        by=by,
        fields=fields,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
        is_active=user.is_active,
    )


def _record_deleted_user(instance: Any, **_: Any) -> None:
    if is_on():
        record(event.USER_DELETED, person=str(instance.pk))
