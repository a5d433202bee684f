"""Providers that are called over the `Wire` of AWS's calls, so that faults can be injected.

`oauth.network.http`, through which all requests are sent, is replaced. Faults of the wire become
errors of the network or of a provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from oauth.network import http
from oauth.network.responses import ProviderResponse
from tests.oauth.support.fake_provider import Answer, FakeProvider
from tests.sessions_kms.support.wire import Wire

OVERLOADED: Answer = (429, "text/plain", b"")
CUT_SHORT: Answer = (200, "application/json", b"")


class WiredProviders:
    """Providers by issuer; their calls have names like `POST /revoke`."""

    def __init__(self, wire: Wire, *providers: FakeProvider) -> None:
        self._wire = wire
        self._providers = {provider.issuer: provider for provider in providers}

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Handle all requests of this process to providers."""

        async def ask(
            method: str, url: str, headers: Mapping[str, str], body: bytes | None, **_: Any
        ) -> ProviderResponse:
            form = dict(parse_qsl((body or b"").decode()))
            status, kind, content = self.answer(method, url, form, headers)
            return ProviderResponse(status, kind, content)

        monkeypatch.setattr(http, "_send", ask)

    def answer(
        self, method: str, url: str, form: dict[str, str], headers: Mapping[str, str]
    ) -> Answer:
        parts = urlsplit(url)
        provider = self._providers[f"{parts.scheme}://{parts.netloc}"]
        authorization = headers.get("Authorization", "")
        parameters = form | dict(parse_qsl(parts.query))
        try:
            response: Answer | None = self._wire.send(
                f"{method} {parts.path}",
                lambda: provider.respond(parts.path, parameters, authorization),
            )
        except (EndpointConnectionError, ReadTimeoutError):
            raise TimeoutError from None
        except ClientError:
            return OVERLOADED
        return response or CUT_SHORT
