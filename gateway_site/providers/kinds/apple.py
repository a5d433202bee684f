"""Apple: https://developer.apple.com/documentation/signinwithapplerestapi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway_site.providers.kinds.kind import BuiltIn

NEEDED = ("TEAM_ID", "PRIVATE_KEY_FILE", "PRIVATE_KEY_ID")


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
        self.variables.refuse(
            ["CLIENT_SECRET", "TOKEN_AUTH"], "is not needed: the key makes the secret."
        )
        found = {suffix: self.variables.text(suffix) for suffix in NEEDED}
        for suffix, value in found.items():
            if not value:
                raise self.variables.error(
                    suffix, f"is missing: Apple's client secret is made of {', '.join(NEEDED)}."
                )
        return {
            "token_auth_method": "client_secret_post",
            "apple_team_id": found["TEAM_ID"],
            "private_key_file": found["PRIVATE_KEY_FILE"],
            "private_key_id": found["PRIVATE_KEY_ID"],
        }
