"""A project that, unlike the gateway, confirms e-mail addresses: its URLs and its outbox."""

from typing import Any

from allauth.account import views
from allauth.account.adapter import DefaultAccountAdapter
from django.urls import path
from pytest_django import Settings

from gateway_site.urls import urlpatterns as project

urlpatterns = [
    path(
        "accounts/confirm-email/",
        views.email_verification_sent,
        name="account_email_verification_sent",
    ),
    *project,
]


class OutboxAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Stores the context of a mail instead of sending it."""

    outbox: list[dict[str, Any]] = []  # noqa: RUF012  (shared with the test, which clears it)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        self.outbox.append(context)


def confirm_addresses(settings: Settings) -> None:
    """Change the settings so that e-mail addresses must be confirmed."""
    settings.ROOT_URLCONF = __name__
    settings.SOCIALACCOUNT_ONLY = False
    settings.ACCOUNT_ADAPTER = f"{__name__}.OutboxAdapter"
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
    settings.ACCOUNT_SIGNUP_FIELDS = ["username*", "email*"]
