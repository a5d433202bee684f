"""A client whose provider vouches for it, written from the drafts; it keeps no browser."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.test import Client

from oauth.clients.rules.authentication import hash_secret
from oauth.clients.rules.client import read_client_list
from oauth.clients.rules.redirect_uris import DEFAULT_URIS
from oauth.clients.server import AuthorizationServer
from tests.oauth.clients.support.app import ISSUER, REDIRECT_URI, RESOURCE
from tests.oauth.support.id_jag_provider import IdJagProvider

FORM = "application/x-www-form-urlencoded"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SECRET = "secret-canary-of-the-tool"
DIGEST = hash_secret(SECRET).hex()
PUBLIC_ID = "https://claude.ai/oauth/mcp-oauth-client-metadata"  # Claude's document is public
LISTED: list[dict[str, Any]] = [
    {"client_id": "tool", "client_secret_sha256": DIGEST, "grant_types": [JWT_BEARER]},
    {"client_id": "other", "client_secret_sha256": DIGEST, "redirect_uris": [REDIRECT_URI]},
    {
        "client_id": PUBLIC_ID,
        "client_name": "Claude",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token", JWT_BEARER],
    },
    {"client_id": "public", "redirect_uris": [REDIRECT_URI]},
    {
        "client_id": "restricted",
        "client_secret_sha256": DIGEST,
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code"],
    },
]


def write_clients(folder: Path) -> str:
    """Write a file with the client `tool`; return its path."""
    file = folder / "asserting.json"
    file.write_text(json.dumps(LISTED[:1]), encoding="utf-8")
    return str(file)


def make_server(**changes: Any) -> AuthorizationServer:
    """Return a server whose upstreams `tools` and `files` are open, and `people` is not."""
    members: dict[str, Any] = {
        "issuer": ISSUER,
        "upstreams": {"tools": "corp", "files": "corp", "people": "corp"},
        "identity_upstreams": frozenset({"tools", "files"}),
        "listed": read_client_list(LISTED, DEFAULT_URIS),
        "metadata_documents": True,
        "registration": True,
        "private_key_jwt": True,
    }
    return AuthorizationServer(**members | changes)


@dataclass
class AssertingClient:
    """A client with a secret, unless ``fields`` say otherwise."""

    idp: IdJagProvider
    client_id: str = "tool"
    fields: dict[str, str] = field(default_factory=lambda: {"client_secret": SECRET})
    http: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))

    def assertion(
        self, header: dict[str, Any] | None = None, key: Any = None, **claims: Any
    ) -> str:
        """Return an assertion that the provider issues to this client, with other claims."""
        usual = {"aud": ISSUER, "client_id": self.client_id, "resource": RESOURCE}
        return self.idp.assertion(header, key, **usual | claims)

    def present(self, assertion: str, headers: Any = None, **changes: str | None) -> Any:
        """Send an assertion; a field that is None is left out."""
        form: dict[str, str | None] = {
            "grant_type": JWT_BEARER,
            "client_id": self.client_id,
            "assertion": assertion,
            **self.fields,
            **changes,
        }
        sent = urlencode({name: value for name, value in form.items() if value is not None})
        return self.http.post("/oauth/token", sent, FORM, headers=headers or {})

    def ask(self, **claims: Any) -> Any:
        """Present a new assertion with these claims."""
        return self.present(self.assertion(**claims))

    def get_token(self, **claims: Any) -> str:
        """Return the access token for a new assertion."""
        response = self.ask(**claims)
        assert response.status_code == 200, response.content
        token: str = response.json()["access_token"]
        return token
