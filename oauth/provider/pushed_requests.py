"""Authorization requests that are pushed to the provider first (PAR, RFC 9126).

An authorization request enters as the address that a browser would be led to, a short one
with a reference to it leaves. So nobody on the way changes it, or reads it in a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from allauth.socialaccount.providers.oauth2.client import OAuth2Client

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.network.responses import ProviderResponse
from oauth.provider import token_endpoint
from oauth.provider.config import ProviderConfig
from oauth.provider.metadata import Metadata

# A URI; the specification bounds no length, and a browser has to take it.
REQUEST_URI = re.compile(r"[A-Za-z][!-~]{0,1999}")


class PushingOAuth2Client(OAuth2Client):  # type: ignore[misc]  # allauth has no types
    """allauth's client, which leads to a provider by a request that ``push`` hands over."""

    push: Callable[[Mapping[str, str]], str]

    def get_redirect_url(
        self, authorization_url: str, scope: Iterable[str], extra_params: Mapping[str, str]
    ) -> str:
        """Push the request and return where the browser is led (section 4)."""
        whole = super().get_redirect_url(authorization_url, scope, extra_params)
        reference = self.push(dict(parse_qsl(urlsplit(whole).query)))
        query = urlencode({"client_id": self.consumer_key, "request_uri": reference})
        return f"{authorization_url}?{query}"


def uses_par(provider: ProviderConfig, found: Metadata) -> bool:
    """Tell whether to push: as configured, or else where the metadata requires it (section 5)."""
    return found.requires_pushing if provider.par is None else provider.par


def push_request(
    provider: ProviderConfig,
    found: Metadata,
    request: Mapping[str, str],
    *,
    clock: Callable[[], float],
) -> str:
    """Push an authorization request; return the reference to it.

    Raises ProviderUnavailable, and ProviderRefused.
    """
    __traceback_hide__ = True
    if found.pushing_endpoint is None:
        raise ProviderUnavailable(
            "The provider's metadata has no pushed_authorization_request_endpoint.",
            Code.PAR_ENDPOINT,
        )
    url = found.pushing_endpoint
    return _read_request_uri(
        token_endpoint.post_as_client(provider, found, request, clock=clock, url=url)
    )


def _read_request_uri(answer: ProviderResponse) -> str:
    if answer.is_overloaded or 300 <= answer.status < 400:
        raise ProviderUnavailable(
            "The provider accepts no pushed authorization requests at the moment.", Code.PAR_STATUS
        )
    content = answer.parse()
    if answer.status not in {200, 201} or content.get("error") is not None:
        own = content.get("error") == "invalid_client"
        raise ProviderRefused(
            "The provider rejects the pushed authorization request.",
            Code.TOKEN_INVALID_CLIENT if own else Code.PAR_REFUSED,
        )
    reference = content.get("request_uri")
    if not isinstance(reference, str) or not REQUEST_URI.fullmatch(reference):
        raise ProviderUnavailable(
            "The provider's response has no usable request_uri.", Code.ANSWER_UNREADABLE
        )
    return reference
