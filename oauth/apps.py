"""The application that holds the tokens of a signed-in person."""

from django.apps import AppConfig


class OAuthConfig(AppConfig):
    """Connects the capture to allauth's signals and registers the system checks."""

    name = "oauth"
    verbose_name = "OAuth tokens"

    def ready(self) -> None:
        from oauth import capture, checks, sign_out  # noqa: F401  (they connect and register)
        from oauth.providers import all_providers
        from sessions_kms.not_before import names_from

        names_from(lambda: [provider.name for provider in all_providers()])
