"""The application that holds the project's templates, commands and checks."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class GatewayConfig(AppConfig):
    """Registers signal receivers and system checks."""

    name = "gateway_site"
    verbose_name = "Gateway"

    def ready(self) -> None:
        from gateway_site import checks  # noqa: F401  (they register)
        from gateway_site.audit import receivers
        from gateway_site.pages import session_label  # noqa: F401  (they register)

        receivers.connect()


class DelayedAdminConfig(admin_apps.AdminConfig):
    """Django's admin, on a site whose confirmations wait for a second."""

    default = False  # `gateway_site` alone, among the installed apps, is the application above
    default_site = "gateway_site.admin_site.DelayedAdminSite"
