"""FastMCP as the server and issuer that accepts assertions: the same facts as of our own."""

from collections.abc import Iterator

import pytest

from tests.interop.conftest import skip_if_left_out
from tests.interop.mcp_servers.servers import FastMCPAssertions
from tests.oauth.conftest import no_memory
from tests.oauth.support import fake_provider
from tests.oauth.support.accepting import AcceptingServer
from tests.oauth.support.accepting_promises import *  # noqa: F403
from tests.oauth.support.fake_provider import CLIENT_ID
from tests.oauth.support.fixtures import store
from tests.oauth.support.id_jag_provider import IdJagProvider

_ = (no_memory, store)


@pytest.fixture(scope="module")
def site(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AcceptingServer]:
    skip_if_left_out(pytestconfig, FastMCPAssertions.program)
    with fake_provider.serving(IdJagProvider) as provider:
        server = FastMCPAssertions(provider.issuer)
        with server.running(tmp_path_factory.mktemp("fastmcp")):
            provider.client_names[CLIENT_ID] = server.client_id
            yield AcceptingServer(
                url=server.url,
                issuer=server.issuer,
                token_endpoint=f"{server.issuer}token",
                client_id=server.client_id,
                client_secret=server.client_secret,
                provider=provider,
                requires_resource=True,
            )
