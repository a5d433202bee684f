"""A real MCP server behind the pins that `pin_tools` wrote, with a real client of both versions."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.gateway_site.support.declared_upstreams import read_api
from tests.gateway_site.support.gateways import (
    TOKEN,
    Gateway,
    running_gateway,
    upstream_variables,
)
from tests.gateway_site.support.mcp_clients import connected_client, text_of
from tests.sessions_kms.support.commands import run
from tests.support.processes import free_port, running

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Pin the tools of a server; `count` has another description since."""
    folder, port = tmp_path_factory.mktemp("pinned"), free_port()
    path = folder / "tools.json"
    address = {"URL": f"http://127.0.0.1:{port}/mcp", "TOOLS_PINNED": str(path)}
    command = [sys.executable, "-m", "tests.gateway_site.support.mcp_server", str(port)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with (
        pytest.MonkeyPatch.context() as patch,
        running(command, environment, folder / "log", port),
    ):
        patch.setattr("django.conf.settings.UPSTREAMS", {"api": read_api(**address)})
        patch.setenv("PINNING_TOKEN", TOKEN)
        done = run("pin_tools", "api", "--token-env", "PINNING_TOKEN", "--write")
        assert done.status == 0, done.err
        change(path)
        with running_gateway(
            folder, variables=upstream_variables("SEEN", port, **address)
        ) as found:
            yield found


def change(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    for tool in document["tools"]:
        if tool["name"] == "count":
            tool["description"] += " It was harmless."
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_client_sees_and_calls_the_tools_that_are_as_pinned(
    pinned: Gateway, mode: str
) -> None:
    from mcp import MCPError  # as in `connected`

    async with connected_client(pinned, mode, "seen") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"whoami", "interrupted"}
        assert text_of(await client.call_tool("whoami")) == f"Bearer {TOKEN}"
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("count", {"to": 1})
    assert pinned.read_log().count("so it is hidden") == 1
