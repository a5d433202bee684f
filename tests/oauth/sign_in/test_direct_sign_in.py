"""Writing a signed-in session directly, as many tests do, leaves what a real sign-in does."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User

from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

# What two sign-ins of the same person do not have in common.
RANDOM = {"access_token", "refresh_token", "id_token", "jti", "nonce", "grant_secret"}
TIMES = {"at", "iat", "exp", "last_login", "date_joined"}
DATABASE_IDS = {"id", "user_id", "user", "_auth_user_id", "account_authentication_methods_user"}
PASSWORDS = {"password", "_auth_user_hash", "_auth_password_digest"}
DIFFERENT = RANDOM | TIMES | DATABASE_IDS | PASSWORDS


def shape(value: Any) -> Any:
    """Return the value with types in place of what is different each time."""
    if isinstance(value, dict):
        return {
            name: type(part).__name__ if name in DIFFERENT else shape(part)
            for name, part in value.items()
        }
    return [shape(part) for part in value] if isinstance(value, list) else value


def traces(visitor: Visitor, store: Stack) -> list[Any]:
    """Return the session, the rows, and the attributes of all items."""
    rows = [list(model.objects.values()) for model in (User, EmailAddress, SocialAccount)]
    items = [(name.rpartition("#")[0], sorted(item)) for name, item in store.items().items()]
    return [shape([dict(visitor.session.items()), rows]), sorted(items)]


def test_direct_sign_in_leaves_what_a_real_one_does(
    store: Stack, corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    real = traces(visitor, store)
    assert len(corp.authorizations) == 1
    User.objects.all().delete()
    visitor.client.cookies.clear()
    for name in [name for name in store.items() if "data-key" not in name]:
        store.delete_item(name)

    visitor.sign_in_directly(corp)

    assert traces(visitor, store) == real
    assert len(corp.authorizations) == 1
