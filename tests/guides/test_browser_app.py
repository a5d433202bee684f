"""docs/guides/browser-app.md, followed in an empty folder, with the two files of docs/spa.md.

`tests/e2e/test_browser_app.py` opens the guide's page in a browser.
"""

import shutil
from pathlib import Path

import pytest

from gateway_site.local.options import Ports
from tests import ROOT
from tests.guides.page import NewFile, read_steps
from tests.guides.runner import Reader
from tests.support.processes import free_ports

GUIDE = ROOT / "docs/guides/browser-app.md"
COPIED = ("src/gateway.js", "vite.config.js")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("npm") is None, reason="NO NPM: install Node and npm"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
]


@pytest.fixture
def variables(variables: dict[str, str]) -> dict[str, str]:
    """Give a reader's shell without AWS."""
    return {name: each for name, each in variables.items() if not name.startswith("AWS_")}


def test_page_and_gateway_answer_at_one_origin(reader: Reader) -> None:
    gateway, provider, kms, dynamodb, mcp, notes, api, front = map(str, free_ports(8))
    options = (
        f"--port {gateway} --provider-port {provider} --kms-port {kms}"
        f" --dynamodb-port {dynamodb} --mcp-port {mcp} --notes-port {notes}"
    )
    reader.own = {
        "kms-gateway runlocal": f"kms-gateway runlocal {options}",
        f"127.0.0.1:{Ports().gateway}": f"127.0.0.1:{gateway}",
        "9999": api,
        "5173": front,
    }
    page = (ROOT / "docs/spa.md").read_text(encoding="utf-8")
    for step in read_steps(page):
        if isinstance(step, NewFile) and step.path in COPIED:
            path = reader.folder / step.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(step.text.replace("127.0.0.1:8000", f"127.0.0.1:{gateway}"))
    reader.follow(GUIDE)
    log = reader.folder / "vite.log"
    assert "ready" in log.read_text()


def test_guide_says_which_files_to_copy() -> None:
    text = Path(GUIDE).read_text(encoding="utf-8")
    assert [name for name in COPIED if f"`{name}`" not in text] == []
