"""The Django app: checks and management commands."""

from django.apps import AppConfig


class SessionsKMSConfig(AppConfig):
    name = "sessions_kms"
    verbose_name = "Encrypted sessions"

    def ready(self) -> None:
        from sessions_kms import checks

        checks.register()
