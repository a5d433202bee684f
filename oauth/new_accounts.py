"""An account that several requests bring for the first time at the same moment.

Each finds that it is new; the database lets one of them save it, and allauth would
answer the others with an error. They are completed anew here, from what the provider
said, and find somebody who exists. So are people of the same name, who are offered
the same user name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

TRIES = 3
ATTRIBUTE = "_oauth_arrived"
PENDING = "socialaccount_sociallogin"  # allauth's key of a sign-up that is not finished


def note(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Note what a sign-in with a new account was before anything of it was saved."""
    if sociallogin.account.pk is None:
        setattr(request, ATTRIBUTE, (sociallogin, sociallogin.serialize()))


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

    allauth leads there for an e-mail address that is taken: their own.
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
    sociallogin.state = before.state  # in it is the token set (`oauth.capture`)
    return lambda: complete_social_login(request, sociallogin)
