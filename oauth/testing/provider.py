"""A provider that refreshes tokens without a network, as a test wants.

It answers in place of `oauth.network.http`; everything above is the real code. While one is in use,
no request leaves the process.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.provider import config, dpop, metadata
from oauth.provider.config import ProviderConfig

JSON = "application/json"


class FakeProvider:
    """The token endpoint of a configured provider. At first it gives new tokens.

    ``refresh_tokens`` are those that it was sent, in order.
    """

    def __init__(self, configured: ProviderConfig) -> None:
        self._config = configured
        self.refresh_tokens: list[str] = []
        self._respond_to: Callable[[Mapping[str, str]], ProviderResponse]
        self.give()

    def give(
        self,
        access_token: str | None = None,
        *,
        refresh_token: str | None = None,
        expires_in: int = 3600,
    ) -> None:
        """Answer a refresh with a new access token, by default a random one.

        Without a new ``refresh_token`` the present one remains valid.
        """
        __traceback_hide__ = True

        def respond(headers: Mapping[str, str]) -> ProviderResponse:
            __traceback_hide__ = True
            tokens = {
                "access_token": access_token or secrets.token_urlsafe(24),
                "token_type": "DPoP" if dpop.PROOF_HEADER in headers else "Bearer",
                "expires_in": expires_in,
            }
            new = {} if refresh_token is None else {"refresh_token": refresh_token}
            return _respond(200, tokens | new)

        self._respond_to = respond

    def refuse(self, error: str = "invalid_grant") -> None:
        """Refuse to refresh: the person has to sign in again."""
        self._respond_to = lambda _: _respond(400, {"error": error})

    def fail(self, status: int = 503) -> None:
        """Answer with an error of the server."""
        self._respond_to = lambda _: _respond(status, {})

    def time_out(self) -> None:
        """Answer later than anybody waits. No time passes in the test."""

        def respond(_: Mapping[str, str]) -> ProviderResponse:
            raise ProviderUnavailable("The provider cannot be reached.", Code.TIMEOUT)

        self._respond_to = respond

    def respond(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> ProviderResponse | None:
        """Return the response to a request, or None if it is for somebody else."""
        __traceback_hide__ = True
        if method == "GET" and url == self._metadata_url():
            return _respond(200, self._metadata())
        if method != "POST" or url != self._token_endpoint():
            return None
        form = parse_qs((body or b"").decode())
        self.refresh_tokens += form.get("refresh_token", [])
        return self._respond_to(headers)

    def _metadata_url(self) -> str | None:
        issuer = self._config.issuer
        if issuer is None or "/.well-known/" in issuer:
            return issuer
        return issuer + metadata.WELL_KNOWN

    def _metadata(self) -> dict[str, Any]:
        issuer = (self._config.issuer or "").partition("/.well-known/")[0]
        endpoints = {name: f"{issuer}/{name}" for name in metadata.REQUIRED}
        return {"issuer": metadata.issuer_of_metadata(self._config, issuer), **endpoints}

    def _token_endpoint(self) -> str | None:
        named = self._config.metadata_overrides.get("token_endpoint")
        if named is None and self._config.issuer is not None:
            named = self._metadata()["token_endpoint"]
        return named or self._config.fixed_endpoint("access_token_url")


def _respond(status: int, content: dict[str, Any]) -> ProviderResponse:
    return ProviderResponse(status, JSON, json.dumps(content).encode())


_in_use: list[FakeProvider] = []


@contextmanager
def fake_provider(name: str) -> Iterator[FakeProvider]:
    """Put a provider that answers as the test wants in the place of a configured one.

    Raises ValueError if the provider is not configured.
    """
    configured = config.find_provider(name)
    if configured is None:
        raise ValueError(f"SOCIALACCOUNT_PROVIDERS has no provider {name!r}.")
    provider = FakeProvider(configured)
    _in_use.append(provider)
    metadata.clear_metadata_cache()
    try:
        with mock.patch.object(http, "request", _request):
            yield provider
    finally:
        _in_use.remove(provider)
        metadata.clear_metadata_cache()


def _request(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, **_: Any
) -> ProviderResponse:
    """Let one of the providers answer. Raises ProviderUnavailable if the request is for none."""
    __traceback_hide__ = True
    for provider in _in_use:
        if (response := provider.respond(method, url, headers, body)) is not None:
            return response
    raise ProviderUnavailable("The provider cannot be reached.", Code.UNREACHABLE)
