"""Which of this package's adapters signs in with a provider, in place of allauth's."""

from __future__ import annotations

from functools import cache

from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter

from oauth.sign_in.adapters.oauth2 import Capturing
from oauth.sign_in.adapters.openid import OpenID
from oauth.sign_in.adapters.plain import Plain


@cache
def capturing(adapter_class: type[OAuth2Adapter], *, has_issuer: bool) -> type[OAuth2Adapter]:
    """Return the subclass of an adapter class that this package signs in with."""
    if issubclass(adapter_class, Capturing):
        return adapter_class
    if not issubclass(adapter_class, OpenIDConnectOAuth2Adapter):
        return type(adapter_class.__name__, (Capturing, adapter_class), {})
    strict = OpenID if has_issuer else Plain
    return type(adapter_class.__name__, (strict, adapter_class), {})
