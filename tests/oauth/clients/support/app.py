"""An independent OAuth client, written from the RFCs: public, with PKCE."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from django.test import Client
from pytest_django import Settings

from oauth.clients.rules.client import read_client_list
from oauth.clients.rules.redirect_uris import DEFAULT_URIS
from oauth.clients.server import AuthorizationServer
from tests.gateway_site.support.page_requests import Element, parse

ISSUER = "http://testserver"
REDIRECT_URI = "http://127.0.0.1:4567/callback"
RESOURCE = f"{ISSUER}/gateway/tools"
SERVER: dict[str, Any] = {
    "issuer": ISSUER,
    "upstreams": {"tools": "corp", "files": "corp"},
    "metadata_documents": True,
    "registration": True,
}


@dataclass
class App:
    """Registers, asks for an authorization, and trades what it gets; no cookie is its own."""

    name: str = "Tool"
    redirect_uri: str = REDIRECT_URI
    client_id: str = ""
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(8))
    http: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))

    def register(self, **metadata: Any) -> Any:
        asked = {"client_name": self.name, "redirect_uris": [self.redirect_uri]} | metadata
        response = self.http.post("/oauth/register", json.dumps(asked), "application/json")
        self.client_id = response.json().get("client_id", "")
        return response

    def query(self, **changes: str | None) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "resource": RESOURCE,
            **changes,
        }
        return urlencode({name: value for name, value in asked.items() if value is not None})

    def address(self, **changes: str | None) -> str:
        return f"/oauth/authorize?{self.query(**changes)}"

    def token(self, **changes: str | None) -> Any:
        form: dict[str, str | None] = {"client_id": self.client_id, "resource": RESOURCE, **changes}
        return self.post("/oauth/token", {k: v for k, v in form.items() if v is not None})

    def redeem(self, code: str, **changes: str | None) -> Any:
        asked = {"grant_type": "authorization_code", "code": code}
        more = {"code_verifier": self.verifier, "redirect_uri": self.redirect_uri}
        return self.token(**asked | more | changes)

    def refresh(self, token: str, **changes: str | None) -> Any:
        asked = {"grant_type": "refresh_token", "refresh_token": token}
        return self.token(**asked | changes)

    def post(self, path: str, form: dict[str, str]) -> Any:
        return self.http.post(path, urlencode(form), "application/x-www-form-urlencoded")


def register_app(name: str = "Tool", redirect_uri: str = REDIRECT_URI) -> App:
    app = App(name, redirect_uri)
    app.register()
    return app


def basic(client_id: str, secret: str = "", *, encoded: bool = True) -> dict[str, str]:
    """Return the header of RFC 6749 section 2.3.1; the id is encoded as its appendix B says."""
    text = f"{quote_plus(client_id) if encoded else client_id}:{secret}"
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def list_client(settings: Settings, entry: dict[str, Any]) -> None:
    """Have the operator's list contain this client alone; clients may have keys."""
    listed = read_client_list([entry], DEFAULT_URIS)
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        **SERVER, private_key_jwt=True, listed=listed
    )


@dataclass(frozen=True)
class WayBack:
    """The parameters that a page returns to a client, and whether it redirects by itself."""

    address: str
    response: dict[str, str]
    is_led: bool

    @classmethod
    def of(cls, response: Any) -> WayBack:
        page: Element = parse(response.content.decode())
        (link,) = [each for each in page.all("a") if "rel" in each.attributes]
        address = link.attributes["href"]
        refreshes = [
            each.attributes["content"]
            for each in page.all("meta")
            if each.attributes.get("http-equiv") == "refresh"
        ]
        assert refreshes in ([], [f"0; url={address}"])
        query = parse_qs(urlsplit(address).query, strict_parsing=True)
        assert all(len(values) == 1 for values in query.values())
        response = {name: values[0] for name, values in query.items()}
        return cls(address.partition("?")[0], response, bool(refreshes))
