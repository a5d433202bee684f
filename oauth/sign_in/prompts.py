"""`prompt` of an authorization request: the page that a provider shows before it responds.

OpenID Connect Core 1.0 section 3.1.2.1. The provider lets the person choose an account if they want
to sign in with another one, and asks for consent when they allow a client: then no single click, in
this gateway or at the provider, gives a client tokens.
"""

from collections.abc import Mapping
from urllib.parse import urlencode

from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from django.http import HttpRequest

from oauth.exceptions import ProviderUnavailable
from oauth.provider import config, metadata

ACCOUNT_FIELD, ANOTHER_ACCOUNT = "account", "another"  # in the form that starts the sign-in
# GitHub supports it as well:
# https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
CHOOSE = "select_account"
SIGN_IN = "login"
CONSENT = "consent"
NO_PAGE = "none"
UNCHANGED = "unchanged"  # a value of OAUTH_<NAME>_CLIENT_PROMPT: keep the prompt of AUTH_PARAMS


def asks_for_another_account(request: HttpRequest) -> bool:
    """Return True if the form requests a choice of account at the provider."""
    return request.POST.get(ACCOUNT_FIELD) == ANOTHER_ACCOUNT


def another_account_parameters(provider: OAuth2Provider) -> str:
    """Return the parameters of the authorization request, encoded as a query for allauth.

    A configured prompt is kept: "consent" and "select_account" can be combined.
    """
    prompt: str = provider.get_auth_params().get("prompt", "")
    configured = [each for each in prompt.split() if each != NO_PAGE]
    supported = _supported_prompts(config.find_provider(provider.sub_id))
    # `login` if the metadata lists the prompts without "select_account".
    wanted = SIGN_IN if supported is not None and CHOOSE not in supported else CHOOSE
    return urlencode({"prompt": " ".join(dict.fromkeys([*configured, wanted]))})


def client_parameters(provider: OAuth2Provider) -> Mapping[str, str]:
    """Return the parameters of the authorization request that follows a person's consent.

    The prompt is `OAUTH_<NAME>_CLIENT_PROMPT` if set, then the `prompt` of
    `OAUTH_<NAME>_AUTH_PARAMS`; otherwise it is `consent` if the provider's metadata lists it.
    """
    parameters: dict[str, str] = provider.get_auth_params()
    configured = config.find_provider(provider.sub_id)
    wanted = configured.client_prompt if configured else None
    if wanted is None and not parameters.get("prompt"):
        wanted = CONSENT if CONSENT in (_supported_prompts(configured) or ()) else None
    return parameters if wanted in {None, UNCHANGED} else {**parameters, "prompt": str(wanted)}


def prompts_after_consent(provider: OAuth2Provider) -> bool:
    """Return True if the provider shows a page after a person's consent here."""
    return client_parameters(provider).get("prompt", NO_PAGE) != NO_PAGE


def _supported_prompts(configured: config.ProviderConfig | None) -> list[str] | None:
    """Return the prompts that the provider's metadata lists; None if it has no list.

    https://openid.net/specs/openid-connect-prompt-create-1_0.html#section-4.1
    """
    try:
        found = metadata.load_metadata(configured) if configured and configured.issuer else None
    except ProviderUnavailable:
        return None  # The request that follows reports it.
    supported = found.document.get("prompt_values_supported") if found else None
    return supported if isinstance(supported, list) else None
