"""Accounts at a provider and their users: lookup, creation in advance, and the first sign-in.

A provider and its subject identify a person. User names and e-mail addresses do not, since the
first person to sign up can choose any. An address identifies an account only if the account's own
provider reported it as verified at the last sign-in.

At a first sign-in, the user name or the e-mail address may belong to another user. allauth would
show a form, which reveals what is taken; here the name gets a random suffix and the address is left
out. If several requests create the same account at once, the database lets one of them save it, and
allauth would answer the others with an error. Here they are completed again from the provider's
data and find the existing user. The same happens for people of the same name, who would get the
same user name.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.internal.flows.manage_email import assess_unique_email
from allauth.account.utils import filter_users_by_username, user_email, user_username
from allauth.socialaccount import app_settings
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import get_random_string

from oauth.admission.claims import is_true

logger = logging.getLogger(__name__)

RANDOM_NAME_LENGTH = 12
SUBJECT_MAX: int = app_settings.UID_MAX_LENGTH

NO_PROFILE = {"is_active", "is_staff", "is_superuser", "password", "last_login"}

ATTEMPTS_MAX = 3
NEW_ACCOUNT_ATTRIBUTE = "_oauth_arrived"
SIGN_UP_KEY = "socialaccount_sociallogin"  # allauth's key of a sign-up that is not finished


def find_account(provider: str, subject: str) -> SocialAccount | None:
    """Return the account of a subject at a provider; None if it does not exist here yet."""
    found = SocialAccount.objects.select_related("user").filter(provider=provider, uid=subject)
    # Some databases compare without case.
    return next((account for account in found if account.uid == subject), None)


def find_accounts_by_address(provider: str, address: str) -> list[SocialAccount]:
    """Return the accounts at a provider with this verified address."""
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
    """Return the addresses that the account's provider reported as verified at the last sign-in.

    GitHub's are not stored, so for its accounts the list is empty.
    """
    try:
        provider = get_adapter().get_provider(None, account.provider)
        addresses = provider.extract_email_addresses(account.extra_data)
        return [str(each.email) for each in addresses if is_true(each.verified)]
    except (AttributeError, LookupError, TypeError, ValueError, SocialApp.DoesNotExist):
        return []  # The provider was removed, or the stored data is malformed.


def is_subject(text: str) -> bool:
    """Return True if the text is valid as a provider's subject.

    Upstreams and operators read it, so it must not look like another one: spaces around it and
    invisible characters would be lost there.
    """
    return 1 <= len(text) <= SUBJECT_MAX and text.isprintable() and text == text.strip()


def create_account(provider: str, subject: str) -> SocialAccount:
    """Create a user with a random name, for a later first sign-in with this account.

    Raises IntegrityError if the account is created at the same time.
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


def create_user_of_claims(provider: str, claims: Mapping[str, Any]) -> SocialAccount | None:
    """Create an account and its user as a first sign-in with an id token of these claims does.

    Nobody is signed in, so nothing but the database changes. Returns None if a person would have
    to fill in a form first, or nobody may sign up. Raises ProviderRefused for claims that cannot
    be stored, and IntegrityError if the same account or name is created at the same time.
    """
    request = HttpRequest()
    request.session = cast("SessionBase", {})  # allauth looks for an unfinished sign-up in it
    adapter = get_adapter(request)
    sociallogin = adapter.get_provider(request, provider).sociallogin_from_response(
        request, {"id_token": dict(claims)}
    )
    is_open = adapter.is_open_for_signup(request, sociallogin)
    if not is_open or not adapter.is_auto_signup_allowed(request, sociallogin):
        return None
    adapter.save_user(request, sociallogin)
    return cast("SocialAccount", sociallogin.account)


def _fold_ascii(address: str) -> bytes:
    """Return an address for comparison, with only ASCII letters in lower case.

    Some other letters of Unicode have an ASCII lower case, such as the kelvin sign.
    """
    return address.encode(errors="surrogatepass").lower()


def note_new_account(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Remember a sign-in with a new account as it was before anything was saved."""
    if sociallogin.account.pk is None:
        setattr(request, NEW_ACCOUNT_ATTRIBUTE, (sociallogin, sociallogin.serialize()))


def drop_taken_names(sociallogin: SocialLogin) -> None:
    """Remove a name and addresses that other users have, without a form or a mail."""
    user = sociallogin.user
    sociallogin.email_addresses = [
        each for each in sociallogin.email_addresses if not _is_taken(each.email)
    ]
    if _is_taken(user_email(user)):
        user_email(user, "")
    if (name := user_username(user)) and filter_users_by_username(name).exists():
        user_username(user, get_account_adapter().generate_unique_username([name]))


def was_created_ahead(sociallogin: SocialLogin) -> bool:
    """Return True if this is the first sign-in of a user from `create_account`."""
    return sociallogin.account.pk is not None and sociallogin.user.last_login is None


def fill_in_profile(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Save the provider's name and address of a user that was created in advance."""
    drop_taken_names(sociallogin)
    get_account_adapter(request).populate_username(request, sociallogin.user)
    try:
        with transaction.atomic():
            sociallogin.user.save(update_fields=_profile_fields(sociallogin.user))
    except IntegrityError:  # just taken by another user: keep the random name
        sociallogin.user.refresh_from_db()


def _profile_fields(user: AbstractBaseUser) -> list[str]:
    """Return the fields that are no rights: somebody may be withdrawing those just now."""
    fields = (each.name for each in user._meta.concrete_fields if not each.primary_key)
    return [each for each in fields if each not in NO_PROFILE]


def _is_taken(address: str | None) -> bool:
    """Return True if allauth would show the sign-up form because of this address.

    `assess_unique_email` returns None if allauth would send a mail instead.
    """
    return bool(address) and assess_unique_email(address) is False


def complete_with_retries(
    request: HttpRequest, complete: Callable[[], HttpResponse]
) -> HttpResponse:
    """Complete a sign-in; restart it if it conflicts with another one in the database.

    Raises IntegrityError after the last attempt.
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
    """Return True if a sign-up form would be shown for an account that now exists.

    This happens if a project requires an e-mail address: the person's own is already taken.
    """
    if not hasattr(request, NEW_ACCOUNT_ATTRIBUTE) or SIGN_UP_KEY not in request.session:
        return False
    account = getattr(request, NEW_ACCOUNT_ATTRIBUTE)[0].account
    return bool(SocialAccount.objects.filter(provider=account.provider, uid=account.uid).exists())


def _restart(request: HttpRequest) -> Callable[[], HttpResponse]:
    before, noted = getattr(request, NEW_ACCOUNT_ATTRIBUTE)
    logger.warning(
        "A sign-in with %s conflicted with another one in the database and is restarted.",
        before.account.provider,
    )
    sociallogin = SocialLogin.deserialize(noted)
    sociallogin.state = before.state  # It holds the token set (`oauth.sign_in.capture`).
    return lambda: complete_social_login(request, sociallogin)
