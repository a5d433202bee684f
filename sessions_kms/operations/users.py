"""The project's users, identified as in sessions: by the text of their primary key."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

MATCHES_MAX = 10


def user_id_of(user: "AbstractBaseUser") -> str:
    """Return a user's id in sessions, as Django's `login` stores it."""
    return str(user._meta.pk.value_to_string(user))


def get_users(user_ids: Iterable[str]) -> "dict[str, AbstractBaseUser]":
    """Return the existing users of these ids, by id, in one query."""
    keys = {key for each in user_ids if (key := _key(each)) is not None}
    found = get_user_model()._default_manager.filter(pk__in=keys) if keys else []
    return {user_id_of(user): user for user in found}


def find_users(text: str) -> "dict[str, AbstractBaseUser]":
    """Return at most 10 users, by id, whose id, user name or e-mail address is this text."""
    model = get_user_model()
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


def _key(user_id: str) -> Any:
    """Return a text as a primary key, or None if it cannot be one."""
    field = get_user_model()._meta.pk
    try:
        key = field.to_python(user_id)
        field.run_validators(key)  # Databases reject numbers out of range.
    except ValidationError:
        return None
    return None if "\0" in user_id else key
