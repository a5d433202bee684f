"""OAuth providers by environment: `OAUTH_<NAME>_CLIENT_ID` and its companions.

What enters are environment variables; what leaves are allauth's
`SOCIALACCOUNT_PROVIDERS` and the origins that a sign-in form may lead to.
A provider is never configured in the database, which would hold its secret.

The variables of one subject are read by one module; what one provider does differently is its
module in `kinds`.
"""

from gateway_site.providers.configuration import (
    configured,
    form_action_origins,
    social_providers,
)
from gateway_site.providers.provider import Provider

__all__ = ["Provider", "configured", "form_action_origins", "social_providers"]
