"""The SDK for Python as a client with a secret: signs in, refreshes and calls.

It reads a JSON object from the variable CLIENT. It prints the address of the consent page, reads
from a line the address to which the browser is sent back, and prints what came of it as JSON.
"""

import asyncio
import json
import os
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, TokenStorage
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


class Stored(TokenStorage):
    def __init__(self, client: OAuthClientInformationFull) -> None:
        self.client = client
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def show(address: str) -> None:
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


async def read() -> AuthorizationCodeResult:
    query = parse_qs(urlsplit(await asyncio.to_thread(input)).query)
    found = {name: values[0] for name, values in query.items()}
    return AuthorizationCodeResult(code=found["code"], state=found["state"], iss=found.get("iss"))


async def main() -> None:
    given = json.loads(os.environ["CLIENT"])
    known = {
        "redirect_uris": [given["redirect_uri"]],
        "token_endpoint_auth_method": given["method"],
    }
    made = {"client_id": given["client_id"], "client_secret": given["secret"], **known}
    stored = Stored(OAuthClientInformationFull.model_validate(made))
    metadata = OAuthClientMetadata.model_validate(known)
    url = given["resource"].partition("?")[0]  # the SDK calls one address alone
    provider = OAuthClientProvider(url, metadata, stored, show, read)
    async with httpx2.AsyncClient(auth=provider, timeout=20) as http:
        for _ in range(3):
            status = (await http.get(url)).status_code
            provider.context.token_expiry_time = time.time() - 1  # the next call refreshes
    assert stored.tokens is not None
    kind = stored.tokens.token_type.lower()
    done = {"scope": stored.tokens.scope, "token_type": kind, "status": status}
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    asyncio.run(main())
