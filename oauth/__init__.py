"""The tokens of a signed-in person: captured at sign-in, refreshed once, handed to upstream calls.

What a project uses is the names of this package and the modules that `PUBLIC_MODULES` lists. A name
is imported at its first use, so that this package can be imported before Django's apps are ready.
"""

# The subpackages, from left to right: each imports only from those above it (`.importlinter`).
#
#   codes  exceptions  signals  models
#   access_rule                             who may sign in: the rule, pure
#   network                                 bounded, vetted HTTP, and cached documents
#   provider                                a provider: settings, metadata, keys, tokens, proofs
#   admission                               who may sign in: what a provider says
#   tokens                                  token sets in the session, and their refresh
#   logout                                  what ends with a session, here and at the provider
#   sign_in                                 allauth's flow, and what it leaves in the session
#   clients                                 OAuth clients that sign in here, and their tokens
#   access  adapter  backchannel  urls      entry points: what code and settings name,
#   sign_out  checks  apps  admin             and what Django finds
#   doctor                                  checks whether people can sign in

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oauth.access import aget_token, aunless_ended, get_token, needs_consent, unless_ended
    from oauth.exceptions import (
        NotConnected,
        OAuthError,
        ProviderUnavailable,
        ReauthenticationRequired,
    )
    from oauth.network.concurrency import release_sql_connections
    from oauth.network.http import tls_context
    from oauth.network.responses import POSTED_FORM_MAX
    from oauth.network.vetted_addresses import is_private_address
    from oauth.provider.token_set import TokenSet
    from oauth.sign_in.failures import SIGN_IN_AGAIN, sign_in_url
    from oauth.sign_in.oauth2_adapter import EXCHANGES_MAX
    from oauth.sign_in.views import NEXT_URL_MAX
    from oauth.tokens.vault import load_token_set

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
    "aunless_ended",
    "get_token",
    "is_private_address",
    "load_token_set",
    "needs_consent",
    "release_sql_connections",
    "sign_in_url",
    "tls_context",
    "unless_ended",
]

PUBLIC_MODULES = (
    "oauth.access_rule",
    "oauth.adapter",  # SOCIALACCOUNT_ADAPTER
    "oauth.admission.explanation",
    "oauth.backchannel",
    "oauth.clients.consent",
    "oauth.clients.grants",
    "oauth.clients.live_grants",
    "oauth.clients.rules.client",
    "oauth.clients.rules.names",
    "oauth.clients.rules.parsing",
    "oauth.clients.rules.redirect_uris",
    "oauth.clients.rules.registration",
    "oauth.clients.rules.resources",
    "oauth.clients.server",  # what is configured for clients that sign in here
    "oauth.doctor",
    "oauth.exceptions",
    "oauth.provider.config",  # which providers are configured
    "oauth.provider.dpop",
    "oauth.sign_in.accounts",  # this and `rights` for an operator's commands
    "oauth.sign_in.authentication",  # its middleware
    "oauth.sign_in.click_delay",
    "oauth.sign_in.rights",
    "oauth.sign_in.session_user",
    "oauth.sign_in.views",
    "oauth.sign_out",  # its middleware
    "oauth.signals",
    "oauth.urls",
)

_MODULES = {
    "oauth.access": ("aget_token", "aunless_ended", "get_token", "needs_consent", "unless_ended"),
    "oauth.exceptions": (
        "NotConnected",
        "OAuthError",
        "ProviderUnavailable",
        "ReauthenticationRequired",
    ),
    "oauth.network.concurrency": ("release_sql_connections",),
    "oauth.network.http": ("tls_context",),
    "oauth.network.responses": ("POSTED_FORM_MAX",),
    "oauth.network.vetted_addresses": ("is_private_address",),
    "oauth.provider.token_set": ("TokenSet",),
    "oauth.sign_in.failures": ("SIGN_IN_AGAIN", "sign_in_url"),
    "oauth.sign_in.oauth2_adapter": ("EXCHANGES_MAX",),
    "oauth.sign_in.views": ("NEXT_URL_MAX",),
    "oauth.tokens.vault": ("load_token_set",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a type checker knows the names from above, and no others

    def __getattr__(name: str) -> object:
        """Import a name at its first use. Raises AttributeError for any other."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - nothing is imported before it is used

        return getattr(import_module(_MODULE_OF[name]), name)
