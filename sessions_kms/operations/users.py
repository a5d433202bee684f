"""The project's users, identified as in sessions: by the text of their primary key.

With django-allauth installed, a user is also found by an account at a provider.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

MATCHES_MAX = 10
ACTIVE: str = "is_active"  # a field of Django's own user model
ACCOUNTS_APP, ACCOUNT_MODEL = "allauth.socialaccount", ("socialaccount", "SocialAccount")


def user_id_of(user: "AbstractBaseUser") -> str:
    """Return a user's id in sessions, as Django's `login` stores it."""
    return str(user._meta.pk.value_to_string(user))


def get_users(user_ids: Iterable[str]) -> "dict[str, AbstractBaseUser]":
    """Return the existing users of these ids, by id, in one query."""
    keys = {key for each in user_ids if (key := _key(each)) is not None}
    # Not the default manager, from which a project may hide some: they could not be deactivated.
    found = get_user_model()._base_manager.filter(pk__in=keys) if keys else []
    return {user_id_of(user): user for user in found}


def find_users(text: str) -> "dict[str, AbstractBaseUser]":
    """Return at most 10 users, by id, whose id, user name or e-mail address is this text."""
    model = get_user_model()
    if not _is_storable(text):
        return {}
    lookups: list[dict[str, Any]] = [{f"{model.USERNAME_FIELD}__exact": text}]
    if hasattr(model, "EMAIL_FIELD"):
        lookups.append({f"{model.get_email_field_name()}__iexact": text})
    found = get_users([text])
    for lookup in lookups:
        for user in model._default_manager.filter(**lookup)[:MATCHES_MAX]:
            found[user_id_of(user)] = user
    return dict(list(found.items())[:MATCHES_MAX])


def iterate_names() -> Iterator[str]:
    """Yield the user names of all users."""
    model = get_user_model()
    for name in model._default_manager.values_list(model.USERNAME_FIELD, flat=True).iterator():
        yield str(name)


def has_accounts() -> bool:
    """Return True if users have accounts at providers."""
    return apps.is_installed(ACCOUNTS_APP)


def find_user_of_account(provider: str, subject: str) -> "AbstractBaseUser | None":
    """Return the user of a subject at a provider; None if nobody has this account."""
    if not _is_storable(subject) or not _is_storable(provider):
        return None
    accounts = apps.get_model(*ACCOUNT_MODEL)._default_manager
    found = accounts.select_related("user").filter(provider=provider, uid=subject)
    # Some databases compare without case.
    exact = [each for each in found if (each.provider, each.uid) == (provider, subject)]
    return exact[0].user if exact else None


def iterate_subjects(provider: str) -> Iterator[str]:
    """Yield the subjects of all accounts at a provider."""
    accounts = apps.get_model(*ACCOUNT_MODEL)._default_manager.filter(provider=provider)
    yield from accounts.order_by("pk").values_list("uid", flat=True).iterator()


def list_providers() -> list[str]:
    """Return the names of the providers of which there are accounts."""
    accounts = apps.get_model(*ACCOUNT_MODEL)._default_manager
    return sorted(set(accounts.values_list("provider", flat=True).distinct()))


def can_be_deactivated() -> bool:
    """Return True if the project's users have a field `is_active`."""
    try:
        get_user_model()._meta.get_field(ACTIVE)
    except FieldDoesNotExist:
        return False
    return True


def deactivate(user: "AbstractBaseUser") -> bool:
    """Deactivate a user, who can then neither sign in nor use a session; False if already so.

    Raises ObjectDoesNotExist if the user was deleted meanwhile.
    """
    user.refresh_from_db()
    if not user.is_active:
        return False
    user.is_active = False
    user.save(update_fields=[ACTIVE])  # not `update`: receivers of `post_save` count on it
    return True


def _key(user_id: str) -> Any:
    """Return a text as a primary key, or None if it cannot be one."""
    field = get_user_model()._meta.pk
    try:
        key = field.to_python(user_id)
        field.run_validators(key)  # Databases reject numbers out of range.
    except ValidationError:
        return None
    return key if _is_storable(user_id) else None


def _is_storable(text: str) -> bool:
    """Return False if databases reject a text, as they do what was not UTF-8 originally."""
    return "\0" not in text and text == text.encode(errors="ignore").decode()
