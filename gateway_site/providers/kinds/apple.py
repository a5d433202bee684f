"""Apple: https://developer.apple.com/documentation/signinwithapplerestapi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway_site.providers.kinds.kind import BuiltIn
from gateway_site.providers.variables import ProviderVariables

NEEDED = (
    ProviderVariables.team_id,
    ProviderVariables.private_key_file,
    ProviderVariables.private_key_id,
)


class Apple(BuiltIn):
    """An OpenID Connect provider without userinfo, whose client secret is made from a key."""

    label = "Apple"
    built_in_issuer = origin = "https://appleid.apple.com"
    default_scopes = ("openid", "email")

    def auth_params(self) -> Mapping[str, str]:
        """Have the answer posted, as Apple insists where a scope is asked for.

        https://developer.apple.com/documentation/signinwithapplerestapi/request-an-authorization-to-the-sign-in-with-apple-server.
        """
        return {**super().auth_params(), "response_mode": "form_post"}

    def scopes(self) -> tuple[str, ...]:
        """Refuse a scope that Apple does not know: refresh tokens come unasked."""
        self._refuse_offline_access("Apple gives refresh tokens without.")
        return super().scopes()

    def client(self) -> dict[str, Any]:
        """Return what the client secret is made of.

        https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
        """
        variables = self.variables
        variables.reject(
            [ProviderVariables.client_secret, ProviderVariables.token_auth],
            "is not needed: the client secret is made from the key.",
        )
        for needed in NEEDED:
            if not variables.read(needed):
                names = ", ".join(each.name for each in NEEDED)
                raise variables.error(
                    needed, f"is missing: Apple's client secret is made from {names}."
                )
        return {
            "token_auth_method": "client_secret_post",
            "apple_team_id": variables.team_id,
            "private_key_file": variables.private_key_file,
            "private_key_id": variables.private_key_id,
        }
