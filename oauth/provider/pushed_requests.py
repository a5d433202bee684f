"""Pushes authorization requests to the provider (PAR, RFC 9126).

Takes the URL of an authorization request and returns a short one with a reference to the pushed
request. So nobody can change the request in the browser, or read it in a log.
"""

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

# A URI; the RFC sets no maximum length, but browsers do.
REQUEST_URI = re.compile(r"[A-Za-z][!-~]{0,1999}")


class PushingOAuth2Client(OAuth2Client):  # type: ignore[misc]  # allauth has no types
    """allauth's client, with authorization requests that are pushed by ``push``."""

    push: Callable[[Mapping[str, str]], str]

    def get_redirect_url(
        self, authorization_url: str, scope: Iterable[str], extra_params: Mapping[str, str]
    ) -> str:
        """Push the request and return the URL for the browser (section 4)."""
        url = super().get_redirect_url(authorization_url, scope, extra_params)
        reference = self.push(dict(parse_qsl(urlsplit(url).query)))
        query = urlencode({"client_id": self.consumer_key, "request_uri": reference})
        return f"{authorization_url}?{query}"


def uses_par(provider: ProviderConfig, found: Metadata) -> bool:
    """Return the setting; without one, return True if the metadata requires PAR (section 5)."""
    return found.requires_pushing if provider.par is None else provider.par


def push_request(
    provider: ProviderConfig,
    found: Metadata,
    request: Mapping[str, str],
    *,
    clock: Callable[[], float],
) -> str:
    """Push an authorization request and return its `request_uri`.

    Raises ProviderUnavailable and ProviderRefused.
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


def _read_request_uri(response: ProviderResponse) -> str:
    if response.is_overloaded or 300 <= response.status < 400:
        raise ProviderUnavailable(
            "The provider accepts no pushed authorization requests at the moment.", Code.PAR_STATUS
        )
    content = response.parse()
    if response.status not in {200, 201} or content.get("error") is not None:
        is_client_fault = content.get("error") == "invalid_client"
        raise ProviderRefused(
            "The provider rejects the pushed authorization request.",
            Code.TOKEN_INVALID_CLIENT if is_client_fault else Code.PAR_REFUSED,
        )
    reference = content.get("request_uri")
    if not isinstance(reference, str) or not REQUEST_URI.fullmatch(reference):
        raise ProviderUnavailable(
            "The provider's response has no usable request_uri.", Code.ANSWER_UNREADABLE
        )
    return reference
