"""The tokens of a signed-in person: captured at sign-in, refreshed once, handed to upstream calls.

What a project uses is the names of this package and the modules that `PUBLIC_MODULES` lists. A name
is imported at its first use, so that this package can be imported before Django's apps are ready.
"""

# The rooms, from left to right: each imports only from those before it (`.importlinter`).
#
#   codes  exceptions  signals  telemetry   the ground
#   models  request_id
#   access_rule                             who may sign in: pure
#   network                                 bounded, vetted HTTP, and what is fetched and kept
#   provider                                what a provider is, and what is asked of it
#   admission                               who may sign in: what a provider told
#   tokens                                  token sets in the session, and their refresh
#   logout                                  what ends with a session, here and at the provider
#   sign_in                                 allauth's flow, and what it leaves in the session
#   clients                                 OAuth clients that sign in here, and their tokens
#   access  adapter  backchannel  urls      the doors: what code and settings name,
#   sign_out  checks  apps  admin             and what Django finds
#   doctor                                  can people sign in with a provider?

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oauth.access import aget_token, astanding, get_token, needs_consent, standing
    from oauth.exceptions import (
        NotConnected,
        OAuthError,
        ProviderUnavailable,
        ReauthenticationRequired,
    )
    from oauth.network.http import tls_context
    from oauth.network.posted_form import BODY_MAX as POSTED_FORM_MAX
    from oauth.network.sql_connections import give_back as give_back_sql_connections
    from oauth.network.vetted_addresses import is_private as is_private_address
    from oauth.provider.token_set import TokenSet
    from oauth.sign_in.adapters.oauth2 import EXCHANGES as EXCHANGES_MAX
    from oauth.sign_in.pending import NEXT_MAX as NEXT_URL_MAX
    from oauth.sign_in.way_back import AGAIN as SIGN_IN_AGAIN
    from oauth.sign_in.way_back import sign_in_address
    from oauth.tokens.vault import load as token_set_of

__all__ = [
    "EXCHANGES_MAX",
    "NEXT_URL_MAX",
    "POSTED_FORM_MAX",
    "SIGN_IN_AGAIN",
    "NotConnected",
    "OAuthError",
    "ProviderUnavailable",
    "ReauthenticationRequired",
    "TokenSet",
    "aget_token",
    "astanding",
    "get_token",
    "give_back_sql_connections",
    "is_private_address",
    "needs_consent",
    "sign_in_address",
    "standing",
    "tls_context",
    "token_set_of",
]

PUBLIC_MODULES = (
    "oauth.adapter",  # SOCIALACCOUNT_ADAPTER
    "oauth.urls",
    "oauth.sign_out",  # its middleware
    "oauth.backchannel",
    "oauth.sign_in.click_delay",
    "oauth.exceptions",
    "oauth.signals",
    "oauth.access_rule",
    "oauth.provider.config",  # which providers are configured
    "oauth.provider.dpop",
    "oauth.sign_in.authentication",  # its middleware
    "oauth.sign_in.views",
    "oauth.sign_in.accounts",  # these two for commands of an operator
    "oauth.sign_in.rights",
    "oauth.sign_in.session_user",  # whose session it is
    "oauth.admission.explaining",
    "oauth.clients.grants",
    "oauth.clients.live_grants",
    "oauth.clients.told",  # what lists show of a grant
    "oauth.clients.rules.challenge",
    "oauth.clients.rules.client",
    "oauth.clients.rules.client_ids",
    "oauth.clients.rules.document",
    "oauth.clients.rules.listed",
    "oauth.clients.rules.names",
    "oauth.clients.rules.redirect_uris",
    "oauth.clients.rules.strict_json",
    "oauth.clients.server",  # what is configured of the clients that sign in here
    "oauth.doctor",
)

# Within this package; after the colon what it is called there.
_HOMES = {
    "EXCHANGES_MAX": "sign_in.adapters.oauth2:EXCHANGES",
    "NEXT_URL_MAX": "sign_in.pending:NEXT_MAX",
    "POSTED_FORM_MAX": "network.posted_form:BODY_MAX",
    "SIGN_IN_AGAIN": "sign_in.way_back:AGAIN",
    "NotConnected": "exceptions:NotConnected",
    "OAuthError": "exceptions:OAuthError",
    "ProviderUnavailable": "exceptions:ProviderUnavailable",
    "ReauthenticationRequired": "exceptions:ReauthenticationRequired",
    "TokenSet": "provider.token_set:TokenSet",
    "aget_token": "access:aget_token",
    "astanding": "access:astanding",
    "get_token": "access:get_token",
    "give_back_sql_connections": "network.sql_connections:give_back",
    "is_private_address": "network.vetted_addresses:is_private",
    "needs_consent": "access:needs_consent",
    "sign_in_address": "sign_in.way_back:sign_in_address",
    "standing": "access:standing",
    "tls_context": "network.http:tls_context",
    "token_set_of": "tokens.vault:load",
}

if not TYPE_CHECKING:  # a type checker is to know the names, and no others

    def __getattr__(name: str) -> object:
        """Import a name at its first use. Raises AttributeError for any other."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pkgutil import resolve_name  # noqa: PLC0415 - nothing is imported before it is used

        return resolve_name(f"{__name__}.{_HOMES[name]}")
