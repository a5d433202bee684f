"""The Django app: checks and management commands."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SessionsKMSConfig(AppConfig):
    name = "sessions_kms"
    verbose_name = _("Encrypted sessions")

    def ready(self) -> None:
        from sessions_kms import checks

        checks.register()
