"""One-time messages in a signed cookie under a name of ours."""

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage


class MessageStorage(CookieStorage):
    """Django's cookie storage; it has no setting for the name."""

    @property
    def cookie_name(self) -> str:  # type: ignore[override]  # Django's is a class attribute
        return str(settings.MESSAGE_COOKIE_NAME)
