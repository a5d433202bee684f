"""The local notes server as a process, and a client that nobody registered there."""

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from mcp.server.auth.provider import AuthorizationParams
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl

from gateway_site.local.mcp_servers.authorization import Authorization
from tests import ROOT
from tests.local.form import BROWSER_ACCEPT
from tests.support.processes import free_port, module, running

BACK = "http://127.0.0.1:1/accounts/connect/notes/callback/"
VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
ACCEPTED = {"Accept": "application/json, text/event-stream"}


@dataclass
class Notes:
    """The server, and what a client learned from its documents."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @contextmanager
    def running(self) -> Iterator[None]:
        options = ["--port", str(self.port), "notes", "--state", str(self.folder / "state")]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        command = module("gateway_site.local.mcp_servers", *options)
        with running(command, environment, self.folder / "log", self.port):
            yield

    def discover(self) -> dict[str, Any]:
        """Return the metadata of the authorization server, found from a call without a token."""
        refused = requests.post(self.url, json={}, headers=ACCEPTED, timeout=20)
        assert refused.status_code == 401
        [where] = re.findall('resource_metadata="([^"]+)"', refused.headers["WWW-Authenticate"])
        resource = requests.get(where, timeout=20).json()
        assert resource["resource"] == self.url
        [issuer] = resource["authorization_servers"]
        found = requests.get(f"{issuer}.well-known/oauth-authorization-server", timeout=20).json()
        assert found["issuer"] == issuer
        return dict(found)

    def call(self, tool: str, token: str, **arguments: Any) -> requests.Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = {"name": tool, "arguments": arguments}
        headers = {"Authorization": f"Bearer {token}", **ACCEPTED}
        return requests.post(self.url, json=message, headers=headers, timeout=20)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    server = Notes(tmp_path_factory.mktemp("notes"))
    with server.running():
        yield server


def register(found: dict[str, Any]) -> str:
    """Register a public client and return its id."""
    asked = {"redirect_uris": [BACK], "token_endpoint_auth_method": "none", "client_name": "G"}
    response = requests.post(found["registration_endpoint"], json=asked, timeout=20)
    assert response.status_code == 201, response.text
    assert "client_secret" not in response.json()
    return str(response.json()["client_id"])


def authorize(found: dict[str, Any], client: str, **more: str) -> requests.Response:
    asked = {
        "response_type": "code", "client_id": client, "redirect_uri": BACK, "state": "s",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256", "scope": "notes",
    } | more  # fmt: skip
    return requests.get(
        found["authorization_endpoint"], params=asked, timeout=20, allow_redirects=False
    )


def decide(found: dict[str, Any], client: str, account: str, **more: str) -> dict[str, list[str]]:
    """Press a button on the page, and return the parameters of the response."""
    led = authorize(found, client, **more)
    page = requests.get(urljoin(found["issuer"], led.headers["Location"]), timeout=20)
    [request] = re.findall('name="request" value="([^"]+)"', page.text)
    form = {"request": request, "account": account}
    address = urljoin(found["issuer"], "/allow")
    response = requests.post(address, form, timeout=20, allow_redirects=False)
    assert response.headers["Location"].startswith(BACK + "?")
    return parse_qs(urlsplit(response.headers["Location"]).query)


def ask_token(found: dict[str, Any], client: str, **more: str) -> requests.Response:
    return requests.post(found["token_endpoint"], {"client_id": client, **more}, timeout=20)


def connect(found: dict[str, Any], client: str, resource: str) -> dict[str, Any]:
    """Return the tokens of a new grant."""
    response = decide(found, client, "ada@notes.example", resource=resource)
    assert (response["state"], response["iss"]) == (["s"], [found["issuer"]])
    more = {"grant_type": "authorization_code", "redirect_uri": BACK, "code_verifier": VERIFIER}
    tokens = ask_token(found, client, code=response["code"][0], resource=resource, **more)
    assert tokens.status_code == 200, tokens.text
    assert ask_token(found, client, code=response["code"][0], **more).status_code == 400
    return dict(tokens.json())


def test_unregistered_client_connects_refreshes_and_revokes(notes: Notes) -> None:
    found = notes.discover()
    client = register(found)
    first = connect(found, client, notes.url)
    whoami = notes.call("whoami", first["access_token"])
    assert "ada@notes.example" in whoami.text
    assert first["access_token"] not in whoami.text
    refresh = {"grant_type": "refresh_token", "resource": notes.url}
    second = ask_token(found, client, refresh_token=first["refresh_token"], **refresh).json()
    assert notes.call("whoami", second["access_token"]).status_code == 200
    assert notes.call("whoami", first["access_token"]).status_code == 401
    again = ask_token(found, client, refresh_token=first["refresh_token"], **refresh)
    assert again.json()["error"] == "invalid_grant"
    gone = {"client_id": client, "token": second["refresh_token"]}
    another = {"client_id": register(found), "token": second["refresh_token"]}
    for form, status in ((another, 200), (gone, 401)):
        assert requests.post(found["revocation_endpoint"], form, timeout=20).status_code == 200
        assert notes.call("whoami", second["access_token"]).status_code == status


def test_restart_keeps_clients_and_grants_and_no_token_is_stored(tmp_path: Path) -> None:
    issuer, file = "http://127.0.0.1:1/", tmp_path / "records.json"

    async def run(restarted: bool, refresh_token: str = "") -> OAuthToken:
        server = Authorization(issuer, issuer + "mcp", file, life=60)
        if not restarted:
            client = OAuthClientInformationFull(client_id="c", redirect_uris=[AnyUrl(BACK)])
            await server.register_client(client)
            params = AuthorizationParams(
                state=None,
                scopes=None,
                code_challenge=CHALLENGE,
                redirect_uri=AnyUrl(BACK),
                redirect_uri_provided_explicitly=True,
            )
            page = await server.authorize(client, params)
            where = server.decide(page.partition("=")[2], "ada@notes.example")
            code = await server.load_authorization_code(
                client, parse_qs(urlsplit(where or "").query)["code"][0]
            )
            assert code
            return await server.exchange_authorization_code(client, code)
        found = await server.get_client("c")
        assert found
        held = await server.load_refresh_token(found, refresh_token)
        assert held
        return await server.exchange_refresh_token(found, held, held.scopes)

    first = asyncio.run(run(restarted=False))
    second = asyncio.run(run(True, first.refresh_token or ""))
    kept = file.read_text(encoding="utf-8")
    assert '"account":"ada@notes.example"' in kept
    for tokens in (first, second):
        assert tokens.access_token not in kept
        assert (tokens.refresh_token or "") not in kept


def test_browser_gets_a_page(notes: Notes) -> None:
    page = requests.get(notes.url, headers={"Accept": BROWSER_ACCEPT}, timeout=20)
    assert "apps that speak MCP" in page.text
    assert requests.get(notes.url, headers=ACCEPTED, timeout=20).status_code == 401


@pytest.mark.slow
def test_token_for_no_resource_is_rejected_and_notes_belong_to_an_account(notes: Notes) -> None:
    found = notes.discover()
    client = register(found)
    tokens = [connect(found, client, notes.url)["access_token"] for _ in range(2)]
    assert notes.call("add_note", tokens[0], text="one").status_code == 200
    assert "one" in notes.call("list_notes", tokens[1]).text
    response = decide(found, client, "grace@notes.example")
    more = {"grant_type": "authorization_code", "redirect_uri": BACK, "code_verifier": VERIFIER}
    unbound = ask_token(found, client, code=response["code"][0], **more).json()["access_token"]
    assert notes.call("list_notes", unbound).status_code == 401


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"resource": "https://another.example/mcp"}, "invalid_target"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_errors_name_the_issuer_too(notes: Notes, asked: dict[str, str], error: str) -> None:
    found = notes.discover()
    response = authorize(found, register(found), **asked)
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert (query["error"], query["iss"]) == ([error], [found["issuer"]])


def test_denial_names_the_issuer_and_a_wrong_verifier_gets_no_token(notes: Notes) -> None:
    found = notes.discover()
    client = register(found)
    assert found["authorization_response_iss_parameter_supported"] is True
    denied = decide(found, client, "")
    assert (denied["error"], denied["iss"]) == (["access_denied"], [found["issuer"]])
    code = decide(found, client, "ada@notes.example")["code"][0]
    more = {"grant_type": "authorization_code", "redirect_uri": BACK, "code_verifier": "w" * 43}
    assert ask_token(found, client, code=code, **more).json()["error"] == "invalid_grant"


def test_only_a_registered_redirect_uri_gets_a_response(notes: Notes) -> None:
    found = notes.discover()
    for more in ({"redirect_uri": "https://evil.example/"}, {"client_id": "nobody"}):
        response = authorize(found, register(found), **more)
        assert response.status_code == 400
        assert "Location" not in response.headers
