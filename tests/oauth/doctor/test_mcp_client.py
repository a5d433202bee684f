"""The doctor tells which client the gateway is at an MCP server, and whether it is known there."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from oauth.doctor.mcp_client import mcp_client_findings
from oauth.mcp.discovery import Discovered
from oauth.mcp.registrations import registration_for
from oauth.mcp.servers import McpServer
from sessions_kms.doctor.finding import Finding, Level
from tests.oauth.support import fake_provider
from tests.oauth.support.mcp_server import AuthorizationServer
from tests.oauth.support.registering import CALLBACK, RESOURCE
from tests.sessions_kms.support.stacks import Stack

SITE = "https://gateway.example"
SECRET = ("client_secret_post",)


@pytest.fixture
def idp(store: Stack, settings: Settings) -> Iterator[AuthorizationServer]:
    settings.OAUTH_MCP_SERVERS = {"wiki": {"url": RESOURCE}}
    settings.OAUTH_MCP_CLIENT = {"name": "Acme", "origin": SITE, "documents": False}
    with fake_provider.serving(AuthorizationServer) as server:
        yield server


@pytest.fixture
def check(store: Stack) -> Any:
    def find(discovered: Discovered) -> Finding:
        (finding,) = mcp_client_findings(discovered, SITE, clock=store.clock)
        return finding

    return find


def test_registration_is_described_and_none_is_made(
    idp: AuthorizationServer, check: Any, store: Stack
) -> None:
    assert check(idp.find()).detail == "will be registered for the first connection"
    assert idp.registrations == []
    idp.change = lambda response: response | {"client_secret_expires_at": store.clock() + 864_001}
    registration_for(idp.find(auth_methods=SECRET), CALLBACK)
    finding = check(idp.find(auth_methods=SECRET))
    assert finding.detail == "is registered; its secret expires in 10 days, and is then replaced"
    idp.clients.clear()
    finding = check(idp.find(auth_methods=SECRET))
    assert (finding.level, len(idp.registrations)) == (Level.WARNING, 1)


@pytest.mark.parametrize(("secret", "level"), [("s", Level.OK), ("wrong", Level.FAILING)])
def test_client_of_the_operator_is_tried(
    idp: AuthorizationServer, check: Any, secret: str, level: Level
) -> None:
    idp.clients["ours"] = {"client_secret": "s"}
    server = McpServer(
        name="wiki", url=RESOURCE, label="Wiki", client_id="ours", client_secret=secret
    )
    finding = check(idp.find(server=server, auth_methods=SECRET))
    assert finding.level is level
    remedy = "Correct UPSTREAM_<NAME>_CLIENT_ID and _CLIENT_SECRET."
    assert finding.remedy == ("" if level is Level.OK else remedy)


@pytest.mark.urls("oauth.mcp.urls")
def test_server_that_takes_only_documents_needs_the_variable(
    idp: AuthorizationServer, check: Any, settings: Settings
) -> None:
    found = idp.find(documents_supported=True, registration_endpoint=None)
    assert "CONNECT_DOCUMENTS=1" in check(found).remedy
    settings.OAUTH_MCP_CLIENT = settings.OAUTH_MCP_CLIENT | {"documents": True}
    assert check(found).detail.endswith(f"{SITE}/oauth/clients/wiki.json")
    finding = check(idp.find(registration_endpoint=None))
    assert finding.level is Level.FAILING
    assert "UPSTREAM_<NAME>_CLIENT_ID" in finding.remedy
