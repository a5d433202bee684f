"""Google: https://developers.google.com/identity/openid-connect/openid-connect."""

from collections.abc import Mapping

from gateway_site.providers.kinds.kind import BuiltIn
from gateway_site.providers.variables import ProviderVariables


class Google(BuiltIn):
    """An OpenID Connect provider that gives refresh tokens by a parameter of its own."""

    label = "Google"
    built_in_issuer = origin = "https://accounts.google.com"
    # Google answers with a refresh token only to a consent that asks for offline access, and the
    # session is the only place an earlier one could have been kept.
    # https://developers.google.com/identity/protocols/oauth2/web-server#offline
    default_auth_params: Mapping[str, str] = {"access_type": "offline", "prompt": "consent"}

    def scopes(self) -> tuple[str, ...]:
        """Refuse a scope that Google does not know: its page would be an error.

        https://developers.google.com/identity/protocols/oauth2/scopes
        """
        params = self.variables.get_name(ProviderVariables.auth_params)
        self._refuse_offline_access(f"at Google {params} has access_type=offline for that.")
        return super().scopes()
