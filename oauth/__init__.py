"""The tokens of a signed-in person: captured at sign-in, refreshed once, handed to upstream calls.

The public API is the names of this package and the modules listed in `PUBLIC_MODULES`. Each name is
imported on first use, so that this package can be imported before Django's apps are ready.
"""

# The subpackages, from left to right: each imports only from those above it (`.importlinter`).
#
#   codes  exceptions  signals  models
#   access_rule                             the rule that decides who may sign in
#   network                                 bounded, vetted HTTP, and cached documents
#   provider                                a provider: settings, metadata, keys, tokens, proofs
#   admission                               applies the rule to what a provider says about a person
#   tokens                                  token sets in the session, and their refresh
#   logout                                  single logout, back-channel logout, revocation
#   sign_in                                 allauth's flow, and what it stores in the session
#   connect                                 connecting MCP servers, and the pages for that
#   clients                                 OAuth clients that sign in here, and their tokens
#   access  adapter  backchannel  urls      entry points: named in code and settings,
#   sign_out  checks  apps  admin             or discovered by Django
#   doctor                                  checks whether people can sign in
#   testing                                 the test kit, which no other code imports

from typing import TYPE_CHECKING

# The package index has another distribution that installs a package of this name. Its files replace
# ours, and this name is then missing (`gateway_site.installation`).
DISTRIBUTION = "django-sessions-kms-gateway"

if TYPE_CHECKING:
    from oauth.access import aget_account as aget_account
    from oauth.access import aget_token as aget_token
    from oauth.access import aunless_ended as aunless_ended
    from oauth.access import find_assertion_issuer as find_assertion_issuer
    from oauth.access import get_token as get_token
    from oauth.access import groups_of as groups_of
    from oauth.access import needs_consent as needs_consent
    from oauth.access import unless_ended as unless_ended
    from oauth.exceptions import AssertionRefused as AssertionRefused
    from oauth.exceptions import NotConnected as NotConnected
    from oauth.exceptions import OAuthError as OAuthError
    from oauth.exceptions import ProviderUnavailable as ProviderUnavailable
    from oauth.exceptions import ReauthenticationRequired as ReauthenticationRequired
    from oauth.exceptions import SessionFull as SessionFull
    from oauth.network.concurrency import release_sql_connections as release_sql_connections
    from oauth.network.http import tls_context as tls_context
    from oauth.network.responses import POSTED_FORM_MAX as POSTED_FORM_MAX
    from oauth.network.vetted_addresses import is_private_address as is_private_address
    from oauth.provider.token_set import TokenSet as TokenSet
    from oauth.sign_in.failures import SIGN_IN_AGAIN as SIGN_IN_AGAIN
    from oauth.sign_in.failures import get_request_id as get_request_id
    from oauth.sign_in.failures import sign_in_url as sign_in_url
    from oauth.sign_in.oauth2_adapter import EXCHANGES_MAX as EXCHANGES_MAX
    from oauth.sign_in.views import NEXT_URL_MAX as NEXT_URL_MAX
    from oauth.tokens.asserted_account import AssertedAccount as AssertedAccount
    from oauth.tokens.vault import account_of_sign_in as account_of_sign_in
    from oauth.tokens.vault import largest_connection as largest_connection
    from oauth.tokens.vault import load_token_set as load_token_set

PUBLIC_MODULES = (
    "oauth.access_rule",
    "oauth.adapter",  # SOCIALACCOUNT_ADAPTER
    "oauth.admission.explanation",
    "oauth.backchannel",
    "oauth.clients.authentication.dpop_proof",
    "oauth.clients.consent",
    "oauth.clients.grants",
    "oauth.clients.id_jag.issuers",
    "oauth.clients.live_grants",
    "oauth.clients.rules.authentication",
    "oauth.clients.rules.client",
    "oauth.clients.rules.errors",
    "oauth.clients.rules.names",
    "oauth.clients.rules.parsing",
    "oauth.clients.rules.redirect_uris",
    "oauth.clients.rules.registration",
    "oauth.clients.rules.resources",
    "oauth.clients.server",  # the settings of the authorization server
    "oauth.clients.wanted_scopes",
    "oauth.connect.views",
    "oauth.connect.wanted_scopes",
    "oauth.doctor",
    "oauth.exceptions",
    "oauth.mcp.challenge",
    "oauth.mcp.client_key",  # these three for an operator's commands
    "oauth.mcp.discovery",
    "oauth.mcp.servers",
    "oauth.provider.config",  # the configured providers
    "oauth.provider.dpop",
    "oauth.provider.public_jwk",
    "oauth.sign_in.accounts",  # this and `rights` for an operator's commands
    "oauth.sign_in.authentication",  # its middleware
    "oauth.sign_in.click_delay",
    "oauth.sign_in.rights",
    "oauth.sign_in.session_user",
    "oauth.sign_in.views",
    "oauth.sign_out",  # its middleware
    "oauth.signals",
    "oauth.formats",
    "oauth.testing",  # for test suites only
    "oauth.urls",
)

_MODULES = {
    "oauth.access": (
        "aget_account",
        "aget_token",
        "aunless_ended",
        "find_assertion_issuer",
        "get_token",
        "groups_of",
        "needs_consent",
        "unless_ended",
    ),
    "oauth.exceptions": (
        "AssertionRefused",
        "NotConnected",
        "OAuthError",
        "ProviderUnavailable",
        "ReauthenticationRequired",
        "SessionFull",
    ),
    "oauth.network.concurrency": ("release_sql_connections",),
    "oauth.network.http": ("tls_context",),
    "oauth.network.responses": ("POSTED_FORM_MAX",),
    "oauth.network.vetted_addresses": ("is_private_address",),
    "oauth.provider.token_set": ("TokenSet",),
    "oauth.sign_in.failures": ("SIGN_IN_AGAIN", "get_request_id", "sign_in_url"),
    "oauth.sign_in.oauth2_adapter": ("EXCHANGES_MAX",),
    "oauth.sign_in.views": ("NEXT_URL_MAX",),
    "oauth.tokens.asserted_account": ("AssertedAccount",),
    "oauth.tokens.vault": ("account_of_sign_in", "largest_connection", "load_token_set"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_MODULE_OF)

if not TYPE_CHECKING:  # type checkers use the imports above, so that they reject unknown names

    def __getattr__(name: str) -> object:
        """Import a public name on first use. Raises AttributeError for any other name."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - only needed on first use

        return getattr(import_module(_MODULE_OF[name]), name)
