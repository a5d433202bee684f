"""The engine with real servers; its client's calls are counted."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from oauth.network import concurrency
from sessions_kms.concurrency.waits import run_sync
from tests.bench.calls import counted
from tests.sessions_kms.support.stacks import Stack, aws_stack, install
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS

Calls = Counter[str]


@pytest.fixture
def calls(
    no_services: None, local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Calls]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    with counted() as found:
        yield found


@pytest.fixture
def client_name() -> str:
    """Return the client of the table; a test may parametrize it."""
    return "boto"


@pytest.fixture
def store(calls: Calls, db: None, settings: Settings, client_name: str) -> Iterator[Stack]:
    """Install the engine with real servers, with warm caches as after a first request."""
    settings.SESSION_ENGINE = "sessions_kms.backend"
    cache.clear()
    stack = aws_stack("servers", FakeClock(time.time()), client=client_name)
    install(stack.services)
    stack.services.probe()
    run_sync(stack.services.not_before.moment())
    calls.clear()
    yield stack
    assert concurrency.drain_background(20)
