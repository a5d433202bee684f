"""The local stack's MCP server with its own accounts: connected by a browser and by a client."""

import html
import json
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tests.e2e.mcp_client_example import REFRESH, Example
from tests.e2e.signing_in import sign_in_by_requests
from tests.e2e.stack import LocalStack
from tests.local.form import submit
from tests.oauth.support.connecting import ONWARD

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]

ADA, GRACE = "ada@notes.example", "grace@notes.example"
CALL = {
    "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}
}  # fmt: skip


def allow_at_the_server(
    browser: requests.Session, page: requests.Response, account: str
) -> requests.Response:
    """Go on from the gateway's page, and allow it at the server as an account."""
    found = ONWARD.search(page.text)
    assert found is not None, page.text
    asked = browser.get(html.unescape(found[1]), timeout=20)
    assert "Local notes" in asked.text
    return submit(browser, asked, follow=True, account=account)


def connect(stack: LocalStack, browser: requests.Session, account: str) -> requests.Response:
    page = browser.get(f"{stack.url}/accounts/connect/notes/", timeout=20)
    return allow_at_the_server(browser, submit(browser, page), account)


def consent(stack: LocalStack, address: str) -> None:
    """Allow a client at the gateway and at the server, and go back where the page leads."""
    with sign_in_by_requests(stack) as browser:
        page = browser.get(address, timeout=20)
        for _ in range(2):  # the first page may not know yet where the person signs in
            page = submit(browser, page, decision="allow")
            if ONWARD.search(page.text):
                break
        assert f"127.0.0.1:{stack.notes}" in page.text
        back = allow_at_the_server(browser, page, GRACE)
        found = REFRESH.search(back.text)
        assert found is not None, back.text
        requests.get(urljoin(back.url, html.unescape(found[1])), timeout=20).raise_for_status()


def whoami(stack: LocalStack, browser: requests.Session) -> requests.Response:
    """Call the server as a page of the gateway would."""
    told = browser.get(f"{stack.url}/gateway/", timeout=20).json()
    headers = {
        told["csrf_header"]: told["csrf_token"],
        "Accept": "application/json, text/event-stream",
        "Origin": stack.url,
    }
    return browser.post(f"{stack.url}/gateway/notes", json=CALL, headers=headers, timeout=20)


def test_browser_and_client_connect_with_tokens_of_their_own_and_survive_kill_9(
    tmp_path: Path,
) -> None:
    stack = LocalStack(tmp_path / "state")
    client = Example(stack, tmp_path / "home", "notes", consent)
    with stack.running(), sign_in_by_requests(stack) as browser:
        assert whoami(stack, browser).json()["code"] == "not_connected"
        home = connect(stack, browser, ADA)
        assert "Notes is connected." in home.text
        assert ADA in home.text
        called = whoami(stack, browser)
        assert called.status_code == 200
        assert ADA in called.text

        first = json.loads(client.signing_in("--tool", "whoami"))
        assert first["account"] == GRACE
        assert first["sha256"] not in called.text

        stack.kill_everything()
        stack.start()

        assert json.loads(client.call("--tool", "whoami")) == first
        assert ADA in whoami(stack, browser).text
        page = browser.get(f"{stack.url}/accounts/connect/notes/disconnect/", timeout=20)
        assert submit(browser, page, follow=True).status_code == 200
        assert whoami(stack, browser).json()["code"] == "not_connected"
        assert json.loads(client.call("--tool", "whoami")) == first
    records = (stack.state / "notes/records.json").read_text(encoding="utf-8")
    assert len(json.loads(records)["clients"]) == 1
    # Nothing was revoked, since the client is an app of the same user: `REVOCATION=last`.
    assert [each["account"] for each in json.loads(records)["grants"].values()] == [ADA, GRACE]
