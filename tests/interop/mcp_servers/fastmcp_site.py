"""An MCP server with FastMCP (PyPI) and one of its authorization servers. Run by FastMCP's Python.

python tests/interop/mcp_servers/fastmcp_site.py OPTIONS    (JSON: those of servers.py)

Its kind is `memory` (it keeps everything in memory, and asks nobody), `proxy` (it has people
sign in at the provider of `upstream`, where it is one registered client), or `assertions` (it also
accepts assertions of that provider: ID-JAG).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.auth import IdentityAssertion, OAuthProxy
from fastmcp.server.auth.auth import (
    ClientRegistrationOptions,
    OAuthProvider,
    RevocationOptions,
)
from fastmcp.server.auth.oauth_proxy.models import ProxyDCRClient
from fastmcp.server.auth.providers import in_memory
from fastmcp.server.auth.providers.introspection import (
    IntrospectionTokenVerifier,
)
from fastmcp.server.dependencies import get_http_request
from key_value.aio.stores.memory import MemoryStore

SCOPES = ["notes"]

options: dict[str, Any] = json.loads(sys.argv[1])
url = f"http://localhost:{options['port']}"


class Hurrying:
    """Says that tokens live shorter than they do: a test waits for refreshes, not for expiry."""

    async def exchange_authorization_code(self, *given: Any) -> Any:
        return self._shorten_life(await super().exchange_authorization_code(*given))  # type: ignore[misc]

    async def exchange_refresh_token(self, *given: Any) -> Any:
        return self._shorten_life(await super().exchange_refresh_token(*given))  # type: ignore[misc]

    def _shorten_life(self, response: Any) -> Any:
        response.expires_in = options["toldLife"]
        return response


class Memory(Hurrying, in_memory.InMemoryOAuthProvider):  # type: ignore[misc]  # without types
    pass


class Proxy(Hurrying, OAuthProxy):  # type: ignore[misc]
    pass


def authorization() -> OAuthProvider:
    if options["kind"] == "memory":
        return Memory(
            base_url=url,
            client_registration_options=ClientRegistrationOptions(
                enabled=True, valid_scopes=SCOPES, default_scopes=SCOPES
            ),
            revocation_options=RevocationOptions(enabled=True),
            required_scopes=SCOPES,
        )
    upstream = options["upstream"]
    accepted = {}
    if options["kind"] == "assertions":
        trusted = IdentityAssertion(trusted_issuers=[upstream["issuer"]], algorithm="ES256")
        accepted = {"identity_assertion": trusted}
    secrets = {"client_id": upstream["clientId"], "client_secret": upstream["clientSecret"]}
    return Proxy(
        upstream_authorization_endpoint=f"{upstream['issuer']}/auth",
        upstream_token_endpoint=f"{upstream['issuer']}/token",
        upstream_revocation_endpoint=f"{upstream['issuer']}/token/revocation",
        upstream_client_id=upstream["clientId"],
        upstream_client_secret=upstream["clientSecret"],
        token_verifier=IntrospectionTokenVerifier(
            introspection_url=f"{upstream['issuer']}/token/introspection", **secrets
        ),
        base_url=url,
        valid_scopes=["openid", "offline_access"],
        extra_authorize_params={"prompt": "consent"},
        forward_resource=False,
        jwt_signing_key="a key of a server for tests",
        client_storage=MemoryStore(),
        **accepted,
    )


async def add_client(proxy: Any, client: dict[str, str]) -> None:
    """Store a client with a secret, as an operator would: those that register have none."""
    made = ProxyDCRClient(
        client_id=client["id"],
        client_secret=client["secret"],
        redirect_uris=["https://gateway.example.com/callback"],
        grant_types=["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        token_endpoint_auth_method="client_secret_basic",
    )
    await proxy._client_store.put(key=client["id"], value=made)


auth = authorization()
if options["kind"] == "assertions":
    asyncio.run(add_client(auth, options["client"]))
server = FastMCP("Notes", auth=auth)


@server.tool
def whoami() -> dict[str, str]:
    """Return what a test asks about the token of this call."""
    token = get_http_request().headers["authorization"].partition(" ")[2]
    digest = hashlib.sha256(token.encode()).hexdigest()[:12]
    return {"name": "Ada Lovelace", "token": "the provider's", "sha256": digest, "whole": token}


server.run(
    transport="http",
    host="127.0.0.1",
    port=options["port"],
    path="/mcp",
    stateless_http=True,
    show_banner=False,
)
