"""A sign-in that has the provider ask which account is meant, instead of taking the last one."""

from __future__ import annotations

from urllib.parse import urlencode

from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from django.http import HttpRequest

from oauth.exceptions import ProviderUnavailable
from oauth.provider import config, metadata

FIELD, VALUE = "account", "another"  # of the form that begins the sign-in
# OpenID Connect Core 3.1.2.1; GitHub knows it as well:
# https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
CHOOSE = "select_account"
SIGN_IN = "login"


def is_meant(request: HttpRequest) -> bool:
    """Tell whether the form asks for it."""
    return request.POST.get(FIELD) == VALUE


def parameters(provider: OAuth2Provider) -> str:
    """Return the parameters of the authorization request, as allauth takes them from a query.

    What is configured is kept: "consent" and "select_account" go together.
    """
    prompt: str = provider.get_auth_params().get("prompt", "")
    asked = [each for each in prompt.split() if each != "none"]
    wanted = _wanted(provider.sub_id)
    return urlencode({"prompt": " ".join(dict.fromkeys([*asked, wanted]))})


def _wanted(name: str) -> str:
    """Return `login` where the metadata tells what there is, and no choice is among it.

    https://openid.net/specs/openid-connect-prompt-create-1_0.html#section-4.1
    """
    configured = config.provider(name)
    try:
        found = metadata.of(configured) if configured and configured.issuer else None
    except ProviderUnavailable:
        return CHOOSE  # The request that follows tells that.
    known = found.document.get("prompt_values_supported") if found else None
    return SIGN_IN if isinstance(known, list) and CHOOSE not in known else CHOOSE
