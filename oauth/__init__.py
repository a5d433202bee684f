"""The tokens of a signed-in person: captured at sign-in, refreshed once, handed to upstream calls.

What applications use is here; it is imported at first use, so that this package can
be imported before Django's apps are ready.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from oauth.old_paths import OLD_PATHS
from sessions_kms.old_paths import OldPaths

if TYPE_CHECKING:
    from oauth.access import aget_token, get_token, needs_consent
    from oauth.exceptions import (
        NotConnected,
        OAuthError,
        ProviderUnavailable,
        ReauthenticationRequired,
    )
    from oauth.provider.token_set import TokenSet

__all__ = [
    "NotConnected",
    "OAuthError",
    "ProviderUnavailable",
    "ReauthenticationRequired",
    "TokenSet",
    "aget_token",
    "get_token",
    "needs_consent",
]

_HOMES = dict.fromkeys(__all__, "oauth.exceptions") | {
    "TokenSet": "oauth.provider.token_set",
    "aget_token": "oauth.access",
    "get_token": "oauth.access",
    "needs_consent": "oauth.access",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


OldPaths(__name__, OLD_PATHS).install()
