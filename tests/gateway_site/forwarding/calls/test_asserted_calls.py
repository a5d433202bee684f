"""Calls by clients whose provider vouches for them, to two real processes over HTTP.

Adversaries: the hostile OAuth client (replays, uses a token elsewhere), a user who is deactivated
meanwhile, an operator who changes the settings of one process.
"""

import json
import secrets
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tests.gateway_site.support.keyed import KeyedFleet, keyed_fleet
from tests.oauth.clients.support.asserting import JWT_BEARER, SECRET, write_clients
from tests.oauth.support.fake_provider import Response
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.support.keys import write_key
from tests.support.local_kms import LocalKMS

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEY = "key-" * 20
SECONDS = 30


class EchoingProvider(IdJagProvider):
    """It is the upstream as well, and repeats the token that it got."""

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path != "/echo":
            return super().respond_at(path, parameters, authorization)
        return 200, "application/json", json.dumps({"authorization": authorization}).encode()


@dataclass
class Fleet:
    """Two processes, and a client with a secret."""

    one: str
    two: str
    idp: EchoingProvider
    started: KeyedFleet
    variables: dict[str, str]
    database: Path

    def assertion(self, **claims: Any) -> str:
        usual = {"aud": self.one, "client_id": "tool", "resource": f"{self.one}/gateway/people"}
        return self.idp.assertion(**usual | claims)

    def present(self, at: str, assertion: str) -> requests.Response:
        form = {"grant_type": JWT_BEARER, "assertion": assertion}
        form |= {"client_id": "tool", "client_secret": SECRET}
        return requests.post(f"{at}/oauth/token", form, timeout=SECONDS)

    def get_token(self, **claims: Any) -> str:
        response = self.present(self.one, self.assertion(**claims))
        assert response.status_code == 200, response.text
        token: str = response.json()["access_token"]
        return token

    def call(self, at: str, token: str, upstream: str = "people") -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{at}/gateway/{upstream}/echo", headers=headers, timeout=SECONDS)

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.database, timeout=SECONDS)) as database, database:
            database.execute(statement)


@pytest.fixture
def fleet(local_kms: LocalKMS, roto_url: str, tmp_path: Path) -> Iterator[Fleet]:
    idp = EchoingProvider()
    with keyed_fleet(local_kms, roto_url, tmp_path, lambda: idp) as started:
        variables = {
            "OAUTH_CORP_ID_JAG_CLIENTS": "1",
            "CLIENTS_FILE": write_clients(tmp_path),
            "IDENTITY_KEY_FILE": write_key(tmp_path / "key.pem"),
            "UPSTREAM_PEOPLE_TOKEN": "identity",
            "UPSTREAM_PEOPLE_CLAIMS": "email",
            "UPSTREAM_OTHER_URL": idp.issuer,
            "UPSTREAM_OTHER_PROVIDER": "corp",
            "UPSTREAM_OTHER_CLIENTS": "1",
        }
        one, two = (started.start(KEY, **variables) for _ in range(2))
        database = tmp_path / "gateway.sqlite3"
        yield Fleet(one, two, idp, started, variables, database)


def test_call_names_the_account_to_the_upstream_and_to_no_other(fleet: Fleet) -> None:
    token = fleet.get_token(email="ada@example.com", email_verified=True)
    for at in (fleet.one, fleet.two):
        response = fleet.call(at, token)
        assert response.status_code == 200, response.text
        sent = response.json()["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(sent, options={"verify_signature": False})
        assert (claims["sub"], claims["client_id"]) == ("corp|1001", "tool")
        assert claims["email"] == "ada@example.com"
    assert fleet.call(fleet.one, token, "other").status_code == 401
    resource = f"{fleet.one}/gateway/other"
    rejected = fleet.present(fleet.one, fleet.assertion(resource=resource))
    assert rejected.json()["error"] == "invalid_grant"


def test_one_of_100_requests_with_one_assertion_in_two_processes_succeeds(fleet: Fleet) -> None:
    fleet.get_token()
    assertion = fleet.assertion(jti=secrets.token_hex(8))
    places = [fleet.one, fleet.two] * 50
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda at: fleet.present(at, assertion), places))
    statuses = [each.status_code for each in found]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 400, 503}
    assert {each.json()["error"] for each in found if each.status_code == 400} == {"invalid_grant"}


def test_user_who_is_deactivated_meanwhile_calls_nothing_more(fleet: Fleet) -> None:
    token = fleet.get_token()
    assert fleet.call(fleet.two, token).status_code == 200
    fleet.execute("UPDATE auth_user SET is_active = 0")
    assert fleet.call(fleet.two, token).status_code == 401
    assert fleet.present(fleet.one, fleet.assertion()).json()["error"] == "invalid_grant"


def test_what_the_operator_changes_counts_at_the_next_call(fleet: Fleet, tmp_path: Path) -> None:
    token = fleet.get_token()
    none = tmp_path / "none.json"
    none.write_text("[]", encoding="utf-8")
    without = fleet.started.start(KEY, **fleet.variables | {"CLIENTS_FILE": str(none)})
    assert fleet.call(without, token).status_code == 401
    assert fleet.call(fleet.two, token).status_code == 200
    now = datetime.now(UTC).isoformat(timespec="seconds")
    done = fleet.started.manage("end_sessions", "--before", now, "--provider", "corp", "--no-input")
    assert done.returncode == 0, done.stderr
    restarted = fleet.started.start(KEY, **fleet.variables)
    response = fleet.call(restarted, token)
    assert (response.status_code, response.json()["code"]) == (401, "grant_ended")
    assert fleet.call(fleet.two, token).status_code == 401
