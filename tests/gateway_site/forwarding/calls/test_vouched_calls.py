"""Calls of an MCP server for which the provider vouches, at two real processes over HTTP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pytest
import requests

from tests.gateway_site.support.keyed import Browser, Program, keyed_fleet
from tests.oauth.support.asserting import AT_NOTES, AssertionServer, serving_asserted
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.mcp_server import McpResource
from tests.support.local_kms import LocalKMS

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEY = "key-" * 20
SECONDS = 30


@dataclass
class Fleet:
    places: tuple[str, str]
    idp: IdJagProvider
    notes: McpResource
    server: AssertionServer


@pytest.fixture
def fleet(local_kms: LocalKMS, roto_url: str, tmp_path: Path) -> Iterator[Fleet]:
    idp = IdJagProvider()
    with (
        keyed_fleet(local_kms, roto_url, tmp_path, lambda: idp) as started,
        serving_asserted(idp) as notes,
    ):
        assert isinstance(notes.authorization, AssertionServer)
        variables = {
            "UPSTREAM_NOTES_MCP": notes.url,
            "UPSTREAM_NOTES_ISSUER": notes.authorization.issuer,
            "UPSTREAM_NOTES_CLIENT_ID": AT_NOTES,
            "UPSTREAM_NOTES_ID_JAG": "corp",
            "UPSTREAM_NOTES_CLIENTS": "1",
        }
        places = (started.start(KEY, **variables), started.start(KEY, **variables))
        yield Fleet(places, idp, notes, notes.authorization)


def test_one_exchange_serves_the_calls_of_two_processes(fleet: Fleet) -> None:
    ada = Browser(fleet.idp)
    ada.sign_in(fleet.places[0])
    fleet.server.hooks["/token"] = lambda: sleep(0.5)  # so that the calls overlap
    browsers = [(ada.copy(), fleet.places[at % 2]) for at in range(16)]

    def call(one: tuple[Browser, str]) -> int:
        browser, place = one
        headers = {"Sec-Fetch-Site": "same-origin"}
        return browser.http.get(
            f"{place}/gateway/notes", headers=headers, timeout=SECONDS
        ).status_code

    with ThreadPoolExecutor(len(browsers)) as pool:
        assert set(pool.map(call, browsers)) == {200}
    assert len(fleet.idp.exchanges) == len(fleet.server.forms) == 1
    assert len(set(fleet.notes.calls)) == 1
    assert "Through Corp" in ada.get(f"{fleet.places[1]}/").text


def test_app_is_allowed_at_the_provider_and_calls_at_both_processes(fleet: Fleet) -> None:
    ada = Browser(fleet.idp)
    ada.sign_in(fleet.places[0])
    program = Program.allowed(ada, fleet.places[0], "notes")
    token = program.tokens["access_token"]
    for place in fleet.places:
        response = requests.get(
            f"{place}/gateway/notes",
            headers={"Authorization": f"Bearer {token}"},
            timeout=SECONDS,
        )
        assert response.status_code == 200, response.text
    assert len(fleet.server.forms) == 1
    assert not fleet.server.authorizations
