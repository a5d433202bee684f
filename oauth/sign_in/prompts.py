"""`prompt` of an authorization request: what a provider shows before it answers.

OpenID Connect Core 1.0 section 3.1.2.1. It asks which account is meant where a person wants to sign
in with another one; and it asks for consent where a person allows a client, so that no single
click of theirs, in this gateway or at the provider, gives a client tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from django.http import HttpRequest

from oauth.exceptions import ProviderUnavailable
from oauth.provider import config, metadata

ACCOUNT_FIELD, ANOTHER_ACCOUNT = "account", "another"  # of the form that begins the sign-in
# GitHub knows it as well:
# https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
CHOOSE = "select_account"
SIGN_IN = "login"
CONSENT = "consent"
NO_PAGE = "none"
UNCHANGED = "unchanged"  # of OAUTH_<NAME>_CLIENT_PROMPT: what AUTH_PARAMS says, if anything


def asks_for_another_account(request: HttpRequest) -> bool:
    """Return whether the form asks the provider to let the person choose an account."""
    return request.POST.get(ACCOUNT_FIELD) == ANOTHER_ACCOUNT


def another_account_parameters(provider: OAuth2Provider) -> str:
    """Return the parameters of the authorization request, as allauth takes them from a query.

    What is configured is kept: "consent" and "select_account" go together.
    """
    prompt: str = provider.get_auth_params().get("prompt", "")
    asked = [each for each in prompt.split() if each != NO_PAGE]
    known = _supported_prompts(config.find_provider(provider.sub_id))
    # `login` where the metadata lists the prompts, and no choice is among them.
    wanted = SIGN_IN if known is not None and CHOOSE not in known else CHOOSE
    return urlencode({"prompt": " ".join(dict.fromkeys([*asked, wanted]))})


def client_parameters(provider: OAuth2Provider) -> Mapping[str, str]:
    """Return the parameters of the authorization request that follows a person's consent.

    `OAUTH_<NAME>_CLIENT_PROMPT` decides where it is set, then the `prompt` of
    `OAUTH_<NAME>_AUTH_PARAMS`; otherwise it is `consent` if the provider's metadata lists it.
    """
    parameters: dict[str, str] = provider.get_auth_params()
    configured = config.find_provider(provider.sub_id)
    wanted = configured.client_prompt if configured else None
    if wanted is None and not parameters.get("prompt"):
        wanted = CONSENT if CONSENT in (_supported_prompts(configured) or ()) else None
    return parameters if wanted in {None, UNCHANGED} else {**parameters, "prompt": str(wanted)}


def prompts_after_consent(provider: OAuth2Provider) -> bool:
    """Return whether the provider is asked to show a page after a person's consent."""
    return client_parameters(provider).get("prompt", NO_PAGE) != NO_PAGE


def _supported_prompts(configured: config.ProviderConfig | None) -> list[str] | None:
    """Return the prompts that the provider's metadata lists; None where it does not tell.

    https://openid.net/specs/openid-connect-prompt-create-1_0.html#section-4.1
    """
    try:
        found = metadata.load_metadata(configured) if configured and configured.issuer else None
    except ProviderUnavailable:
        return None  # The request that follows reports it.
    known = found.document.get("prompt_values_supported") if found else None
    return known if isinstance(known, list) else None
