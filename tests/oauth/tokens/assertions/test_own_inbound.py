"""Our own issuer, in another process, accepts the assertions with which the gateway calls it."""

import json
from collections.abc import Iterator

import pytest

from tests.gateway_site.support.keyed import keyed_fleet
from tests.oauth.clients.support.asserting import DIGEST, SECRET
from tests.oauth.support.accepting import AcceptingServer
from tests.oauth.support.accepting_promises import *  # noqa: F403
from tests.oauth.support.asserting import JWT_BEARER
from tests.oauth.support.fake_provider import CLIENT_ID, Response
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.support.keys import write_key
from tests.support.local_kms import LocalKMS

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEY = "key-" * 20


class UpstreamToo(IdJagProvider):
    """The MCP server behind our own inbound side."""

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path.rstrip("/") != "/mcp":
            return super().respond_at(path, parameters, authorization)
        return 200, "application/json", b'{"jsonrpc": "2.0"}'


@pytest.fixture(scope="module")
def site(
    local_kms: LocalKMS, roto_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AcceptingServer]:
    folder = tmp_path_factory.mktemp("inbound")
    clients = folder / "clients.json"
    entry = {"client_id": "tool", "client_secret_sha256": DIGEST, "grant_types": [JWT_BEARER]}
    clients.write_text(json.dumps([entry]), encoding="utf-8")
    provider = UpstreamToo(client_names={CLIENT_ID: "tool"})
    with keyed_fleet(local_kms, roto_url, folder, lambda: provider) as fleet:
        url = fleet.start(
            KEY,
            OAUTH_CORP_ID_JAG_CLIENTS="1",
            CLIENTS_FILE=str(clients),
            IDENTITY_KEY_FILE=write_key(folder / "key.pem"),
            UPSTREAM_PEOPLE_URL=f"{provider.issuer}/mcp",
            UPSTREAM_PEOPLE_TOKEN="identity",
        )
        yield AcceptingServer(
            url=f"{url}/gateway/people",
            issuer=url,
            token_endpoint=f"{url}/oauth/token",
            client_id="tool",
            client_secret=SECRET,
            provider=provider,
        )
