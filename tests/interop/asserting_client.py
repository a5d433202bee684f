"""A program with the SDK for Python whose provider vouches for it: no browser, no consent.

    python -m tests.interop.asserting_client SERVER ISSUER PROVIDER METHOD REFRESH_TOKEN

For each line that enters it calls the tool `whoami`, and prints the response. Its id token comes
from the provider by the refresh token, as an application keeps one after a sign-in.
"""

import asyncio
import sys

import httpx2
from mcp import Client
from mcp.client.auth import TokenStorage
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from tests.oauth.clients.support.asserting import SECRET
from tests.oauth.support.fake_provider import CLIENT_ID, CLIENT_SECRET
from tests.oauth.support.id_jag_provider import EXCHANGE, ID_JAG

TIMEOUT = 60  # seconds
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
AT_PROVIDER = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


class Kept(TokenStorage):
    """Tokens in memory."""

    tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        print("token", tokens.expires_in, tokens.refresh_token, flush=True)  # noqa: T201

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise NotImplementedError


class Person:
    """Somebody who signed in at the provider."""

    def __init__(self, provider: str, refresh_token: str) -> None:
        self.provider = provider
        self.refresh_token = refresh_token

    async def vouch(self, audience: str, resource: str) -> str:
        """Return an assertion of the provider (ID-JAG section 4.3)."""
        renewed = await self.ask(grant_type="refresh_token", refresh_token=self.refresh_token)
        self.refresh_token = renewed["refresh_token"]
        found = await self.ask(
            grant_type=EXCHANGE,
            requested_token_type=ID_JAG,
            subject_token=renewed["id_token"],
            subject_token_type=ID_TOKEN,
            audience=audience,
            resource=resource,
        )
        return found["access_token"]

    async def ask(self, **form: str) -> dict[str, str]:
        async with httpx2.AsyncClient(timeout=TIMEOUT) as http:
            response = await http.post(f"{self.provider}/token", data=form | AT_PROVIDER)
            response.raise_for_status()
            found: dict[str, str] = response.json()
            return found


async def main(server: str, issuer: str, provider: str, method: str, refresh_token: str) -> None:
    auth = IdentityAssertionOAuthProvider(
        server_url=server,
        storage=Kept(),
        client_id="tool",
        client_secret=SECRET,
        issuer=issuer,
        assertion_provider=Person(provider, refresh_token).vouch,
        token_endpoint_auth_method=method,  # type: ignore[arg-type]  # one of two
    )
    async with (
        httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http,
        Client(streamable_http_client(server, http_client=http)) as client,
    ):
        while await asyncio.to_thread(sys.stdin.readline):
            given = await client.call_tool("whoami", {})
            text = "".join(getattr(content, "text", "") for content in given.content)
            print("answer", text, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
