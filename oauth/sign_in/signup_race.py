"""An account that comes for the first time: saved without a question, and once.

Its user name and its e-mail address may be somebody else's here. allauth would show a
form then, which tells whoever asks what is taken; here the name gets a random suffix,
and the address is left out.

Where several requests bring the account at the same moment, each finds that it is new;
the database lets one of them save it, and allauth would answer the others with an error.
They are completed anew here, from what the provider said, and find somebody who exists.
So are people of the same name, who are offered the same user name.

Somebody whom `manage.py staff` made ahead of the first sign-in is introduced by it likewise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.internal.flows.manage_email import assess_unique_email
from allauth.account.utils import filter_users_by_username, user_email, user_username
from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

TRIES = 3
ATTRIBUTE = "_oauth_arrived"
PENDING = "socialaccount_sociallogin"  # allauth's key of a sign-up that is not finished


def note(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Note what a sign-in with a new account was before anything of it was saved."""
    if sociallogin.account.pk is None:
        setattr(request, ATTRIBUTE, (sociallogin, sociallogin.serialize()))


def settle(sociallogin: SocialLogin) -> None:
    """Leave out of a new account what is somebody else's here: nobody is asked, and none told."""
    user = sociallogin.user
    sociallogin.email_addresses = [
        each for each in sociallogin.email_addresses if not _is_taken(each.email)
    ]
    if _is_taken(user_email(user)):
        user_email(user, "")
    if (name := user_username(user)) and filter_users_by_username(name).exists():
        user_username(user, get_account_adapter().generate_unique_username([name]))


def was_made_ahead(sociallogin: SocialLogin) -> bool:
    """Tell whether this is the first sign-in of somebody whom `oauth.sign_in.accounts` made."""
    return sociallogin.account.pk is not None and sociallogin.user.last_login is None


def introduce(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Save the name and the address that a provider tells of somebody who was made ahead."""
    settle(sociallogin)
    get_account_adapter(request).populate_username(request, sociallogin.user)
    try:
        with transaction.atomic():
            sociallogin.user.save()
    except IntegrityError:  # taken in this moment: the made-up name is as good
        sociallogin.user.refresh_from_db()


def _is_taken(address: str | None) -> bool:
    """Tell whether an address would lead to the form. (None is told by mail, where that is on.)"""
    return bool(address) and assess_unique_email(address) is False


def completed(request: HttpRequest, complete: Callable[[], HttpResponse]) -> HttpResponse:
    """Complete a sign-in, again from its beginning where it meets another in the database.

    Raises IntegrityError when that does not help.
    """
    for _ in range(TRIES - 1):
        try:
            response = complete()
        except IntegrityError:
            if not hasattr(request, ATTRIBUTE):
                raise
        else:
            if not _is_overtaken(request):
                return response
        complete = _again(request)
    return complete()


def _is_overtaken(request: HttpRequest) -> bool:
    """Tell whether a sign-up form would be shown to somebody who exists by now.

    A project that requires an e-mail address leads there: their own is taken.
    """
    if not hasattr(request, ATTRIBUTE) or PENDING not in request.session:
        return False
    account = getattr(request, ATTRIBUTE)[0].account
    return bool(SocialAccount.objects.filter(provider=account.provider, uid=account.uid).exists())


def _again(request: HttpRequest) -> Callable[[], HttpResponse]:
    before, noted = getattr(request, ATTRIBUTE)
    logger.warning(
        "A sign-in with %s met another one in the database, and is completed anew.",
        before.account.provider,
    )
    sociallogin = SocialLogin.deserialize(noted)
    sociallogin.state = before.state  # in it is the token set (`oauth.sign_in.capture`)
    return lambda: complete_social_login(request, sociallogin)
