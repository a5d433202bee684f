"""What signing in and out costs at AWS, counted where boto sends its calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from gateway_site.local.kms import LocalKMS
from oauth import background
from tests.bench.calls import counted, deletes, puts, reads
from tests.clock import FakeClock
from tests.oauth.fake_provider import FakeProvider
from tests.oauth.fixtures import Visitor
from tests.sessions_kms.conftest import local_kms, roto_url
from tests.sessions_kms.stacks import Stack, aws_stack, install

__all__ = ["local_kms", "roto_url"]

Calls = Counter[str]


@pytest.fixture
def calls(
    aws_environment: None, local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Calls]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    with counted() as found:
        yield found


@pytest.fixture
def store(calls: Calls, db: None, settings: Settings) -> Iterator[Stack]:
    """Install the engine over real servers, warm as a process is after its first request."""
    settings.SESSION_ENGINE = "sessions_kms.backend"
    cache.clear()
    stack = aws_stack("servers", FakeClock(time.time()))
    install(stack.services)
    stack.services.probe()
    stack.services.not_before.moment()
    calls.clear()
    yield stack
    assert background.drain(20)


def test_sign_in_costs_five_puts_and_three_reads(
    calls: Calls, corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    # One of the puts is the tombstone of the key that the sign-in changed.
    assert (puts(calls), deletes(calls), reads(calls)) == (5, 0, 3)


def test_sign_in_asks_no_kms(calls: Calls, corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    assert [name for name in calls if name in {"Decrypt", "GenerateDataKey"}] == []


def test_sign_out_costs_one_read_and_one_delete(
    calls: Calls, corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    calls.clear()
    visitor.client.post("/accounts/logout/")
    assert calls == {"GetItem": 1, "DeleteItem": 1}


def test_anonymous_page_costs_nothing(calls: Calls, visitor: Visitor, corp: FakeProvider) -> None:
    assert visitor.client.get("/").status_code == 200
    assert calls == {}
