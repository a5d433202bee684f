"""Amazon Cognito: https://docs.aws.amazon.com/cognito/latest/developerguide."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway_site.providers.kinds.kind import Kind
from gateway_site.providers.variables import ProviderVariables

HOST = re.compile(r"cognito-idp\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


class Cognito(Kind):
    """An OpenID Connect provider whose pages are on another host than its issuer."""

    @staticmethod
    def is_meant(variables: ProviderVariables) -> bool:
        """Tell whether the issuer is a user pool."""
        try:
            return bool(HOST.fullmatch(urlsplit(variables.issuer).hostname or ""))
        except ValueError:
            return False

    def scopes(self) -> tuple[str, ...]:
        """Refuse a scope that Cognito does not know (`invalid_scope`).

        https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
        """
        self._refuse_offline_access("Cognito gives refresh tokens without.")
        return super().scopes()

    def sign_in_origins(self) -> list[str]:
        """Return the issuer's, and insist on the one of the user pool's domain."""
        if not (self.variables.form_action or self.variables.authorization_url):
            raise self.variables.error(
                ProviderVariables.form_action,
                "is missing: the domain of the user pool's sign-in page, such as "
                "https://example.auth.eu-central-1.amazoncognito.com. Browsers block the button "
                "otherwise.",
            )
        return super().sign_in_origins()
