"""Providers asked over the `Wire` of AWS's calls instead of sockets: counted and struck alike.

Both ways out are taken over: `oauth.http`, and the `requests` that allauth asks with. What
a fault of the wire raises is translated to what the network, or a provider, would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from botocore.exceptions import ClientError, ReadTimeoutError
from requests.adapters import HTTPAdapter

from oauth import http
from tests.oauth.fake_provider import Answer, FakeProvider
from tests.sessions_kms.wire import Wire

OVERLOADED: Answer = (429, "text/plain", b"")
CUT_SHORT: Answer = (200, "application/json", b"")


class WiredProviders:
    """Providers by their issuers; each call of one is named `POST /revoke`, say."""

    def __init__(self, wire: Wire, *providers: FakeProvider) -> None:
        self._wire = wire
        self._providers = {provider.issuer: provider for provider in providers}

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer whatever this process asks a provider from now on."""

        async def ask(
            method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
        ) -> http.Answer:
            status, kind, body = self.answer(method, url, dict(form or {}), headers)
            return http.Answer(status, kind, body)

        def send(_: HTTPAdapter, request: requests.PreparedRequest, **more: Any) -> Any:
            return self._response(request)

        monkeypatch.setattr(http, "_ask", ask)
        monkeypatch.setattr(HTTPAdapter, "send", send)

    def answer(
        self, method: str, url: str, form: dict[str, str], headers: Mapping[str, str]
    ) -> Answer:
        parts = urlsplit(url)
        provider = self._providers[f"{parts.scheme}://{parts.netloc}"]
        authorization = headers.get("Authorization", "")
        parameters = form | dict(parse_qsl(parts.query))
        try:
            answer: Answer | None = self._wire.send(
                f"{method} {parts.path}",
                lambda: provider.respond(parts.path, parameters, authorization),
            )
        except ReadTimeoutError:
            raise TimeoutError from None
        except ClientError:
            return OVERLOADED
        return answer or CUT_SHORT

    def _response(self, request: requests.PreparedRequest) -> requests.Response:
        form = dict(parse_qsl(str(request.body or "")))
        try:
            status, kind, body = self.answer(
                request.method or "", request.url or "", form, request.headers
            )
        except OSError:
            raise requests.ConnectionError from None
        response = requests.Response()
        response.status_code, response._content, response.request = status, body, request
        response.headers["Location" if status == 302 else "Content-Type"] = kind
        return response
