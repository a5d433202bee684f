"""What this provider does unlike allauth's default."""

from allauth.account.adapter import DefaultAccountAdapter
from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from django.http import HttpRequest


class NoSignupAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class ProviderAdapter(DefaultOIDCAdapter):  # type: ignore[misc]  # allauth is untyped
    def populate_server_metadata(self, data: dict[str, str | list[str]]) -> None:
        """Announce what the one client may use; allauth lists all that it implements."""
        data.pop("device_authorization_endpoint", None)
        data["grant_types_supported"] = ["authorization_code", "refresh_token"]
        data["response_types_supported"] = ["code"]
