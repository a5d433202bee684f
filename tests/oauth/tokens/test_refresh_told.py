"""The signals and metrics of refreshes."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from oauth.exceptions import ReauthenticationRequired
from oauth.metrics import telemetry
from oauth.signals import token_refreshed
from sessions_kms.services import id_of
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import assert_no_token, get_token
from tests.sessions_kms.support.stacks import Stack
from tests.support.signals import record_signal


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(telemetry, "_counters", {})
    monkeypatch.setattr(telemetry, "_histograms", {})
    monkeypatch.setattr(telemetry, "_is_enabled", True)
    monkeypatch.setitem(vars(telemetry), "_created_meter", provider.get_meter("oauth"))
    yield reader
    provider.shutdown()


def test_refresh_sends_one_signal_with_the_short_session_id(
    signed_in: Visitor, store: Stack
) -> None:
    with record_signal(token_refreshed) as received:
        get_token(signed_in)
        assert received == []
        store.clock.advance(4000)
        get_token(signed_in)
        get_token(signed_in)
    [details] = received
    key = signed_in.session.session_key or ""
    assert (details["provider"], details["session"]) == ("corp", id_of(key)[:8])
    assert details.keys() == {"signal", "sender", "provider", "session"}


def test_refreshes_are_measured_by_provider_and_outcome(
    corp: FakeProvider, signed_in: Visitor, store: Stack, reader: InMemoryMetricReader
) -> None:
    store.clock.advance(4000)
    get_token(signed_in)
    store.clock.advance(4000)
    corp.refresh_tokens.clear()
    assert_no_token(signed_in, ReauthenticationRequired)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {
        metric.name: [dict(point.attributes or {}) for point in metric.data.data_points]
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }
    told = {"operation": "refresh", "provider": "corp"}
    assert metrics["oauth.refresh"] == [
        {**told, "outcome": "ok"},
        {**told, "outcome": "error", "error.type": "GrantRefused"},
    ]
    assert metrics["oauth.lease.wait"] == [{"provider": "corp"}]
