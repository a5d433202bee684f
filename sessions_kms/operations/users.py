"""The project's users, as sessions name them: by the text of their primary key."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

MATCHES_MAX = 10


def user_id_of(user: "AbstractBaseUser") -> str:
    """Return how sessions name a user, as Django's `login` does."""
    return str(user._meta.pk.value_to_string(user))


def named(user_ids: Iterable[str]) -> "dict[str, AbstractBaseUser]":
    """Return the users of these ids that are still there, in one query."""
    keys = {key for each in user_ids if (key := _key(each)) is not None}
    found = get_user_model()._default_manager.filter(pk__in=keys) if keys else []
    return {user_id_of(user): user for user in found}


def matching(text: str) -> "dict[str, AbstractBaseUser]":
    """Return users by id, whose id, natural name or e-mail address a text is; at most 10."""
    model = get_user_model()
    lookups: list[dict[str, Any]] = [{f"{model.USERNAME_FIELD}__exact": text}]
    if hasattr(model, "EMAIL_FIELD"):
        lookups.append({f"{model.get_email_field_name()}__iexact": text})
    found = named([text])
    for lookup in lookups:
        for user in model._default_manager.filter(**lookup)[:MATCHES_MAX]:
            found[user_id_of(user)] = user
    return dict(list(found.items())[:MATCHES_MAX])


def names() -> Iterator[str]:
    """Yield the natural names of all users."""
    model = get_user_model()
    for name in model._default_manager.values_list(model.USERNAME_FIELD, flat=True).iterator():
        yield str(name)


def _key(user_id: str) -> Any:
    """Return the primary key that a text spells, None where it spells none."""
    field = get_user_model()._meta.pk
    try:
        key = field.to_python(user_id)
        field.run_validators(key)  # Databases refuse what is out of a number's range.
    except ValidationError:
        return None
    return None if "\0" in user_id else key
