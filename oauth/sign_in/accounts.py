"""Whose an account at a provider is: found, or made ahead of its first sign-in.

A provider and its subject name a person; user names and e-mail addresses do not, since
whoever signs up first chooses them. An address finds somebody only where the account's own
provider said, at the last sign-in, that it has verified it.
"""

from __future__ import annotations

from collections.abc import Iterator

from allauth.account.utils import user_username
from allauth.socialaccount import app_settings
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.crypto import get_random_string

from oauth.sign_in.adapters.oauth2 import is_true

NAME_LETTERS = 12
SUBJECT_MAX: int = app_settings.UID_MAX_LENGTH


def find(provider: str, subject: str) -> SocialAccount | None:
    """Return the account of a subject at a provider; None where nobody came with it yet."""
    found = SocialAccount.objects.select_related("user").filter(provider=provider, uid=subject)
    # Not every database tells capitals from small letters.
    return next((account for account in found if account.uid == subject), None)


def with_address(provider: str, address: str) -> list[SocialAccount]:
    """Return the accounts at a provider that have an address as verified."""
    wanted = _folded(address)
    return [
        account
        for account in at(provider)
        if wanted in {_folded(each) for each in verified_addresses(account)}
    ]


def at(provider: str) -> Iterator[SocialAccount]:
    """Yield all accounts at a provider."""
    found = SocialAccount.objects.select_related("user").filter(provider=provider)
    yield from found.order_by("pk").iterator()


def verified_addresses(account: SocialAccount) -> list[str]:
    """Return the addresses that the account's provider called verified at the last sign-in.

    What GitHub says of them is not kept: there are none.
    """
    try:
        provider = get_adapter().get_provider(None, account.provider)
        told = provider.extract_email_addresses(account.extra_data)
        return [str(each.email) for each in told if is_true(each.verified)]
    except (AttributeError, LookupError, TypeError, ValueError, SocialApp.DoesNotExist):
        return []  # No provider of this name any more, or what it said is of no use.


def is_subject(text: str) -> bool:
    """Tell whether a provider may call somebody that."""
    return 1 <= len(text) <= SUBJECT_MAX and text.isprintable()


def create(provider: str, subject: str) -> SocialAccount:
    """Make a person, with a random name, whom a later sign-in with this account lands on.

    Raises IntegrityError when the account comes at the same moment.
    """
    user = get_user_model()()
    user.set_unusable_password()
    user_username(user, f"user-{get_random_string(NAME_LETTERS).lower()}")
    with transaction.atomic():
        user.save()
        account: SocialAccount = SocialAccount.objects.create(
            user=user, provider=provider, uid=subject
        )
    return account


def _folded(address: str) -> bytes:
    """Return an address by which to compare: only the letters of ASCII lose their case.

    Unicode has letters that become an ASCII one, such as the sign for kelvin.
    """
    return address.encode(errors="surrogatepass").lower()
