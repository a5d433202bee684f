"""docs/guides/mcp-server.md, followed in an empty folder; the browser is a program."""

import re
import shutil
import sys

import pytest

from gateway_site.local.options import Ports
from tests import ROOT
from tests.guides.runner import Reader
from tests.support.processes import free_ports

GUIDE = ROOT / "docs/guides/mcp-server.md"
SERVER_PORT = "8100"  # in the guide

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
]


@pytest.fixture
def variables(variables: dict[str, str]) -> dict[str, str]:
    """Give a reader's shell without AWS, whose browser allows what clients ask for."""
    kept = {name: each for name, each in variables.items() if not name.startswith("AWS_")}
    person = f"env PYTHONPATH={ROOT} {sys.executable} -m tests.guides.person"
    return kept | {"BROWSER": f"{person} %s &"}


def test_client_signs_in_and_calls_a_tool_with_the_persons_token(reader: Reader) -> None:
    defaults = Ports()
    gateway, provider, kms, dynamodb, mcp, notes, server = map(str, free_ports(7))
    options = (
        f"--port {gateway} --provider-port {provider} --kms-port {kms}"
        f" --dynamodb-port {dynamodb} --mcp-port {mcp} --notes-port {notes}"
    )
    reader.own = {
        "kms-gateway runlocal": f"kms-gateway runlocal {options}",
        f"127.0.0.1:{defaults.gateway}": f"127.0.0.1:{gateway}",
        f"127.0.0.1:{defaults.provider}": f"127.0.0.1:{provider}",
        SERVER_PORT: server,
    }
    reader.follow(GUIDE)
    log = (reader.folder / "orders.log").read_text()
    assert re.search('"POST /mcp HTTP/1.1" 200 OK', log)
