"""The Django app of this package."""

import logging

from django.apps import AppConfig
from django.conf import settings

logger = logging.getLogger(__name__)


class OAuthConfig(AppConfig):
    """Connects the capture to allauth's signals and registers the system checks."""

    name = "oauth"
    verbose_name = "OAuth tokens"

    def ready(self) -> None:
        from oauth import checks  # noqa: F401 - it registers
        from oauth.clients.server import SETTING
        from oauth.logout import deferred_revocation  # noqa: F401 - it connects
        from oauth.mcp.servers import all_servers
        from oauth.provider.config import all_providers
        from oauth.sign_in import capture, rights, session_user  # noqa: F401 - they connect
        from sessions_kms import not_before_names_from

        if getattr(settings, SETTING, None) is not None:
            from oauth.clients.endpoints import approval  # noqa: F401
        not_before_names_from(
            lambda: [
                *(provider.name for provider in all_providers()),
                *(server.name for server in all_servers()),
            ]
        )
        self._warn_about_proxy([provider.issuer for provider in all_providers()])

    def _warn_about_proxy(self, issuers: list[str | None]) -> None:
        """Warn if a proxy has to keep providers' addresses out of private networks."""
        from oauth.network.http import proxy_of

        if any(proxy_of(issuer or "https://github.com") for issuer in issuers):
            logger.warning(
                "Requests to providers go through a proxy (HTTPS_PROXY). The proxy alone resolves "
                "their host names, and must block addresses of private networks."
            )
