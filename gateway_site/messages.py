"""One-time messages in a signed cookie under a name of ours."""

from functools import cached_property

from django.conf import settings
from django.contrib.messages.storage.base import BaseStorage
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.signing import Signer, get_cookie_signer
from django.http import HttpRequest


class MessageStorage(CookieStorage):
    """Django's cookie storage; it has no setting for the name, and makes a signer for each request.

    Most requests have no message, and need none.
    """

    def __init__(self, request: HttpRequest) -> None:
        BaseStorage.__init__(self, request)

    @cached_property
    def signer(self) -> Signer:
        return get_cookie_signer(salt=self.key_salt)

    @property
    def cookie_name(self) -> str:  # type: ignore[override]  # Django's is a class attribute
        return str(settings.MESSAGE_COOKIE_NAME)
