"""Processes that register at once, or die while they do: real ones, over a real table."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django import Settings

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.mcp.registrations import registration_for
from oauth.mcp.stored_registrations import load_registrations
from tests.oauth.support import fake_provider
from tests.oauth.support.mcp_server import AuthorizationServer
from tests.oauth.support.provider_failures import stall
from tests.oauth.support.registering import CALLBACK
from tests.oauth.support.worker import Worker
from tests.sessions_kms.support.stacks import Stack, aws_stack, install, settings_of
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS


@pytest.fixture
def idp() -> Iterator[AuthorizationServer]:
    with fake_provider.serving(AuthorizationServer) as server:
        yield server


@pytest.fixture
def servers(
    local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Stack:
    settings.OAUTH_MCP_CLIENT = {"name": "Acme", "origin": "https://gateway.example"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    clock = FakeClock(time.time())
    stack = aws_stack("servers", clock)
    stack.services = replace(stack.services, sleep=clock.advance)
    install(stack.services)
    return stack


@pytest.fixture
def worker(servers: Stack, settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    clock = tmp_path / "clock"
    clock.write_text("0")
    worker_settings = {
        "sessions": settings_of(servers.config) | {"REGION_NAME": servers.config.region_name},
        "providers": {},
        "client": settings.OAUTH_MCP_CLIENT,
        "clock": str(clock),
    }
    with Worker(worker_settings) as started:
        assert started.ask("warm_up") is True
        yield started


def begin_registration(idp: AuthorizationServer, worker: Worker) -> threading.Event:
    """Have a process register, which waits at the server for the event that is returned."""
    begun, is_over = stall(idp, "/register")
    worker.tell("register", issuer=idp.issuer)
    assert begun.wait(30)
    return is_over


@pytest.mark.slow
def test_processes_that_register_at_once_get_one_client(
    servers: Stack, idp: AuthorizationServer, worker: Worker
) -> None:
    is_over = begin_registration(idp, worker)
    theirs: list[str] = []

    def wait(_: float) -> None:
        assert not theirs, "it is stored when the other process has it"
        is_over.set()
        theirs.append(worker.read_result())

    install(replace(servers.services, sleep=wait))
    ours = registration_for(idp.find(), CALLBACK)
    assert [ours.client_id] == theirs == ["client-1"]
    assert len(idp.registrations) == 1
    assert load_registrations(servers.services, "wiki").registrations == (ours,)


@pytest.mark.slow
def test_process_that_is_killed_while_it_registers_stops_nobody_for_long(
    servers: Stack, idp: AuthorizationServer, worker: Worker
) -> None:
    is_over = begin_registration(idp, worker)
    worker.kill()
    is_over.set()
    codes = []
    for _ in range(10):
        try:
            made = registration_for(idp.find(), CALLBACK)
            break
        except ProviderUnavailable as exc:
            codes.append(exc.code)
            servers.clock.advance(exc.retry_after or 1)
    assert set(codes) == {Code.REGISTRATION_PAUSED}
    assert made.client_id in idp.clients
    assert servers.clock() < time.time() + 120
