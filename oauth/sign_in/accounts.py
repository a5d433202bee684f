"""Accounts at a provider and the users they belong to: found, created ahead, or saved at the first
sign-in.

A provider and its subject identify a person; user names and e-mail addresses do not, since whoever
signs up first chooses them. An address finds somebody only where the account's own provider said,
at the last sign-in, that it has verified it.

At a first sign-in the user name and the e-mail address may belong to somebody else here. allauth
would show a form then, which reveals what is taken; here the name gets a random suffix, and the
address is left out. Where several requests bring a new account at the same moment, the database
lets one of them save it, and allauth would answer the others with an error. They are completed anew
here, from what the provider said, and find an existing user. The same goes for people of the same
name, who are offered the same user name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.internal.flows.manage_email import assess_unique_email
from allauth.account.utils import filter_users_by_username, user_email, user_username
from allauth.socialaccount import app_settings
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import get_random_string

from oauth.sign_in.oauth2_adapter import is_true

logger = logging.getLogger(__name__)

RANDOM_NAME_LENGTH = 12
SUBJECT_MAX: int = app_settings.UID_MAX_LENGTH

ATTEMPTS_MAX = 3
NEW_ACCOUNT_ATTRIBUTE = "_oauth_arrived"
SIGN_UP_KEY = "socialaccount_sociallogin"  # allauth's key of a sign-up that is not finished


def find_account(provider: str, subject: str) -> SocialAccount | None:
    """Return the account of a subject at a provider; None where nobody came with it yet."""
    found = SocialAccount.objects.select_related("user").filter(provider=provider, uid=subject)
    # Not every database tells capitals from small letters.
    return next((account for account in found if account.uid == subject), None)


def find_accounts_by_address(provider: str, address: str) -> list[SocialAccount]:
    """Return the accounts at a provider that have an address as verified."""
    wanted = _fold_ascii(address)
    return [
        account
        for account in accounts_at(provider)
        if wanted in {_fold_ascii(each) for each in verified_addresses(account)}
    ]


def accounts_at(provider: str) -> Iterator[SocialAccount]:
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


def create_account(provider: str, subject: str) -> SocialAccount:
    """Make a person, with a random name, whom a later sign-in with this account lands on.

    Raises IntegrityError when the account comes at the same moment.
    """
    user = get_user_model()()
    user.set_unusable_password()
    user_username(user, f"user-{get_random_string(RANDOM_NAME_LENGTH).lower()}")
    with transaction.atomic():
        user.save()
        account: SocialAccount = SocialAccount.objects.create(
            user=user, provider=provider, uid=subject
        )
    return account


def _fold_ascii(address: str) -> bytes:
    """Return an address by which to compare: only the letters of ASCII lose their case.

    Unicode has letters that become an ASCII one, such as the sign for kelvin.
    """
    return address.encode(errors="surrogatepass").lower()


def note_new_account(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Note what a sign-in with a new account was before anything of it was saved."""
    if sociallogin.account.pk is None:
        setattr(request, NEW_ACCOUNT_ATTRIBUTE, (sociallogin, sociallogin.serialize()))


def drop_taken_names(sociallogin: SocialLogin) -> None:
    """Leave out of a new account what is somebody else's here: nobody is asked, and none told."""
    user = sociallogin.user
    sociallogin.email_addresses = [
        each for each in sociallogin.email_addresses if not _is_taken(each.email)
    ]
    if _is_taken(user_email(user)):
        user_email(user, "")
    if (name := user_username(user)) and filter_users_by_username(name).exists():
        user_username(user, get_account_adapter().generate_unique_username([name]))


def was_created_ahead(sociallogin: SocialLogin) -> bool:
    """Tell whether this is the first sign-in of somebody whom `oauth.sign_in.accounts` made."""
    return sociallogin.account.pk is not None and sociallogin.user.last_login is None


def fill_in_profile(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Save the name and the address that a provider tells of somebody who was made ahead."""
    drop_taken_names(sociallogin)
    get_account_adapter(request).populate_username(request, sociallogin.user)
    try:
        with transaction.atomic():
            sociallogin.user.save()
    except IntegrityError:  # taken in this moment: the made-up name is as good
        sociallogin.user.refresh_from_db()


def _is_taken(address: str | None) -> bool:
    """Tell whether an address would lead to the form. (None is told by mail, where that is on.)"""
    return bool(address) and assess_unique_email(address) is False


def complete_with_retries(
    request: HttpRequest, complete: Callable[[], HttpResponse]
) -> HttpResponse:
    """Complete a sign-in, again from its beginning where it meets another in the database.

    Raises IntegrityError when that does not help.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            response = complete()
        except IntegrityError:
            if not hasattr(request, NEW_ACCOUNT_ATTRIBUTE):
                raise
        else:
            if not _was_created_meanwhile(request):
                return response
        complete = _restart(request)
    return complete()


def _was_created_meanwhile(request: HttpRequest) -> bool:
    """Tell whether a sign-up form would be shown to somebody who exists by now.

    A project that requires an e-mail address leads there: their own is taken.
    """
    if not hasattr(request, NEW_ACCOUNT_ATTRIBUTE) or SIGN_UP_KEY not in request.session:
        return False
    account = getattr(request, NEW_ACCOUNT_ATTRIBUTE)[0].account
    return bool(SocialAccount.objects.filter(provider=account.provider, uid=account.uid).exists())


def _restart(request: HttpRequest) -> Callable[[], HttpResponse]:
    before, noted = getattr(request, NEW_ACCOUNT_ATTRIBUTE)
    logger.warning(
        "A sign-in with %s met another one in the database, and is completed anew.",
        before.account.provider,
    )
    sociallogin = SocialLogin.deserialize(noted)
    sociallogin.state = before.state  # in it is the token set (`oauth.sign_in.capture`)
    return lambda: complete_social_login(request, sociallogin)
