"""One refresh over several processes, and one of them killed in the middle of it.

The provider is django-oauth-toolkit, which rotates refresh tokens and revokes the
whole family when one comes a second time; table and KMS are real local servers.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from tests.oauth.support.worker import FROZEN, Worker, digest
from tests.sessions_kms.support.stacks import (
    Stack,
    aws_stack,
    install,
    settings_of,
)
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS
from tests.support.processes import free_port, lines_until, module, started
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

SHARES = (13, 13, 12, 12)  # of 50 requests
EXPIRED = 4000.0  # seconds after the sign-in
TAKEN_OVER = 30.0  # seconds after which nobody believes that a dead holder still works


@dataclass
class Toolkit:
    """The running provider."""

    url: str
    client: dict[str, Any]

    @property
    def issuer(self) -> str:
        return f"{self.url}/o"

    def grant(self) -> TokenSet:
        """Exchange a code, as the callback does."""
        client = self.client
        response = self._token(
            grant_type="authorization_code",
            code=client["codes"].pop(),
            redirect_uri=client["redirect_uri"],
            code_verifier=client["code_verifier"],
        )
        return TokenSet.from_response(
            response.json(),
            subject=client["subject"],
            client_id=client["client_id"],
            requested_scope=("openid", "read"),
            now=int(time.time()),
            source="op",
        )

    def is_alive(self, token_set: TokenSet) -> bool:
        """Return True if a grant can be refreshed, which spends its refresh token."""
        token = token_set.refresh_token
        return self._token(grant_type="refresh_token", refresh_token=token).status_code == 200

    def refreshes(self) -> list[int]:
        """Return the status of each refresh since this was asked last."""
        seen: list[int] = requests.get(f"{self.url}/seen/", timeout=10).json()["refreshes"]
        new, self._seen = seen[self._seen :], len(seen)
        return new

    _seen: int = 0

    def _token(self, **form: str | None) -> requests.Response:
        pair = (self.client["client_id"], self.client["client_secret"])
        return requests.post(f"{self.url}/o/token/", form, auth=pair, timeout=10)


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolkit]:
    port = free_port()
    database = tmp_path_factory.mktemp("toolkit") / "db.sqlite3"
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "tests.oauth.toolkit_site.settings",
        "TOOLKIT_DATABASE": str(database),
        "OAUTHLIB_INSECURE_TRANSPORT": "1",  # plain http on loopback
    }
    command = module("tests.oauth.toolkit_site", str(port))
    with started(command, environment, stdout=subprocess.PIPE) as process:
        (prepared,) = lines_until(process)
        url = f"http://127.0.0.1:{port}"
        wait_for(url)
        yield Toolkit(url, json.loads(prepared))


@dataclass
class Fleet:
    """Processes that serve one session, whose access token has expired."""

    stack: Stack
    toolkit: Toolkit
    workers: list[Worker]
    key: str
    clock: Path

    def advance(self, seconds: float) -> None:
        self.stack.clock.advance(seconds)
        ahead = float(self.clock.read_text()) + seconds
        replacement = self.clock.with_name("next")
        replacement.write_text(str(ahead))
        replacement.replace(self.clock)

    def load_tokens(self) -> TokenSet:
        held = vault.load_token_set(SessionStore(self.key), "corp")
        assert held is not None
        return held


@pytest.fixture
def servers(
    local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> Stack:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    stack = aws_stack("servers", FakeClock(time.time()))
    install(stack.services)
    return stack


@pytest.fixture
def processes() -> int:
    return len(SHARES)


@pytest.fixture
def fleet(toolkit: Toolkit, servers: Stack, tmp_path: Path, processes: int) -> Iterator[Fleet]:
    session = SessionStore()
    vault.store_token_set(session, "corp", toolkit.grant())
    session.save()
    assert session.session_key is not None
    clock = tmp_path / "clock"
    clock.write_text("0")
    worker_settings = {
        "sessions": settings_of(servers.config) | {"REGION_NAME": servers.config.region_name},
        "providers": providers(toolkit),
        "clock": str(clock),
    }
    toolkit.refreshes()
    with running(worker_settings, processes) as workers:
        fleet = Fleet(servers, toolkit, workers, session.session_key, clock)
        fleet.advance(EXPIRED)
        yield fleet


def providers(toolkit: Toolkit) -> dict[str, Any]:
    app = {
        "provider_id": "corp",
        "name": "Corp",
        "client_id": toolkit.client["client_id"],
        "secret": toolkit.client["client_secret"],
        "settings": {"server_url": toolkit.issuer, "scope": ["openid", "read"]},
    }
    return {"openid_connect": {"APPS": [app]}}


@contextmanager
def running(settings: dict[str, Any], count: int) -> Iterator[list[Worker]]:
    with ExitStack() as processes:
        workers = [Worker(settings) for _ in range(count)]
        for worker in workers:
            processes.enter_context(worker)
            worker.tell("ready")
        for worker in workers:
            assert worker.read_result() is True
        yield workers


def ask_all(workers: list[Worker], key: str, ways: list[str]) -> list[str]:
    """Ask 50 times at one moment."""
    for worker, way, count in zip(workers, ways, SHARES, strict=False):
        worker.tell(way, key=key, count=count)
    return [outcome for worker in workers for outcome in worker.read_result()]


def assert_one_grant_serves_all(fleet: Fleet, responses: list[str]) -> None:
    held = fleet.load_tokens()
    assert responses == [digest(held.access_token)] * len(responses)
    assert fleet.toolkit.refreshes() == [200]
    assert fleet.toolkit.is_alive(held)


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param(["threads"] * 4, id="sync", marks=pytest.mark.long),
        pytest.param(["tasks"] * 4, id="async", marks=pytest.mark.long),
        pytest.param(["threads", "tasks"] * 2, id="both"),
    ],
)
def test_fifty_requests_over_four_processes_make_one_refresh(fleet: Fleet, ways: list[str]) -> None:
    responses = ask_all(fleet.workers, fleet.key, ways)
    assert len(responses) == 50
    assert_one_grant_serves_all(fleet, responses)


@pytest.mark.parametrize("processes", [3])
@pytest.mark.parametrize("before", ["refresh", pytest.param("save", marks=pytest.mark.long)])
def test_winner_killed_in_the_middle_costs_no_request_and_no_grant(
    fleet: Fleet, before: str
) -> None:
    winner, *others = fleet.workers
    winner.ask("freeze", before=before)
    winner.tell("threads", key=fleet.key, count=13)
    assert winner.read_result() == FROZEN

    for worker in others:
        worker.tell("threads", key=fleet.key, count=17)
    winner.kill()
    fleet.advance(TAKEN_OVER)
    responses = [outcome for worker in others for outcome in worker.read_result()]

    assert len(responses) == 34
    assert_one_grant_serves_all(fleet, responses)


@pytest.mark.parametrize("processes", [3])
def test_winner_killed_before_the_sealing_costs_one_sign_in(fleet: Fleet) -> None:
    """The window that cannot be closed: the only copy of the new tokens died with it."""
    winner, *others = fleet.workers
    winner.ask("freeze", before="seal")
    winner.tell("threads", key=fleet.key, count=1)
    assert winner.read_result() == FROZEN
    winner.kill()
    fleet.advance(TAKEN_OVER)

    for worker in others:
        worker.tell("threads", key=fleet.key, count=17)
    responses = [outcome for worker in others for outcome in worker.read_result()]

    assert set(responses) == {"ReauthenticationRequired"}
    assert fleet.toolkit.refreshes() == [200, 400]
