"""An OAuth client of a gateway in another process: it exchanges a code, then calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests

from oauth.clients.rules import registration
from oauth.formats import hash_text
from tests.gateway_site.support.gateways import Gateway

VERIFIER = "verifier-" * 5
REDIRECT_URI = "http://127.0.0.1/callback"
CLIENT_ID = registration.make_client_id("Tool", [REDIRECT_URI])


def authorization_url(
    issuer: str, client_id: str, redirect_uri: str = REDIRECT_URI, *, upstream: str
) -> str:
    """Return the address at which somebody lets a client call an upstream."""
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": "the-state",
        "code_challenge": hash_text(VERIFIER),
        "code_challenge_method": "S256",
        "resource": f"{issuer}/gateway/{upstream}",
    }
    return f"{issuer}/oauth/authorize?{urlencode(query)}"


@dataclass
class Caller:
    """A client with its tokens and without cookies."""

    gateway: Gateway
    access_token: str
    refresh_token: str
    client_id: str = CLIENT_ID

    @classmethod
    def allowed(cls, gateway: Gateway, upstream: str, client_id: str = CLIENT_ID) -> Caller:
        code = gateway.control(f"allow/{upstream}/{client_id}")
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        response = trade(gateway, form | {"client_id": client_id})
        assert response.status_code == 200, response.text
        tokens = response.json()
        made = cls(gateway, tokens["access_token"], tokens["refresh_token"], client_id)
        gateway.end_grants.append(made.end)
        return made

    def refresh(self) -> requests.Response:
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
        return trade(self.gateway, form)

    def end(self) -> None:
        """Revoke its first tokens, and with them its grant."""
        form = {"client_id": self.client_id, "token": self.refresh_token}
        response = requests.post(f"{self.gateway.url}/oauth/revoke", form, timeout=20)
        assert response.status_code == 200, response.text

    def call(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.access_token}"} | options.pop("headers", {})
        url = f"{self.gateway.url}/gateway/{path}"
        return requests.request(method, url, headers=headers, timeout=20, **options)


def trade(gateway: Gateway, form: dict[str, str]) -> requests.Response:
    form = {"client_id": CLIENT_ID, **form}
    return requests.post(f"{gateway.url}/oauth/token", form, timeout=20)
