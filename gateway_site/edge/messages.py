"""One-time messages in a signed cookie with a name of our own."""

from functools import cached_property

from django.conf import settings
from django.contrib.messages.storage.base import BaseStorage
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.signing import Signer, get_cookie_signer
from django.http import HttpRequest


class MessageStorage(CookieStorage):
    """Django's cookie storage, with a setting for its name, and a signer only if it is needed.

    Most requests have no message.
    """

    def __init__(self, request: HttpRequest) -> None:
        BaseStorage.__init__(self, request)

    @cached_property
    def signer(self) -> Signer:
        return get_cookie_signer(salt=self.key_salt)

    @property
    def cookie_name(self) -> str:  # type: ignore[override]  # Django's is a class attribute
        return str(settings.MESSAGE_COOKIE_NAME)
