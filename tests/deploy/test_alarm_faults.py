"""Each alarm of Prometheus fires at the fault that it names, in the real engine and sign-in."""

import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from itertools import count
from pathlib import Path
from threading import Thread
from unittest.mock import Mock

import pytest
from django.db import OperationalError
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server
from pytest_django import Settings

from gateway_site.audit import file_writer
from gateway_site.audit.file_writer import EventQueue
from gateway_site.edge import http_metrics
from gateway_site.edge.http_metrics import TimedCall
from gateway_site.policy.in_force import RulesInForce, reload_rules
from gateway_site.rules import problems
from oauth import metrics as oauth_metrics
from oauth.exceptions import ProviderUnavailable, ReauthenticationRequired
from sessions_kms import services
from sessions_kms.aws.clock import ServerClock
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable
from sessions_kms.telemetry import telemetry
from sessions_kms.testing.kms import MemoryKMS
from tests.deploy.prometheus import PROMETHEUS, firing_alerts, watching
from tests.gateway_site.audit.written import Machine
from tests.gateway_site.support.declared_upstreams import read_api
from tests.gateway_site.support.pinned_process import Process as PinningProcess
from tests.gateway_site.support.pinned_process import pinned_tool
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, address, corp, store, visitor
from tests.oauth.support.requests import get_token
from tests.sessions_kms.support.fakes import State
from tests.sessions_kms.support.faults import Exchange, Response, drop_connection, running_proxy
from tests.sessions_kms.support.fleet import MAX_AGE, PERIOD, Process
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack, aws_stack, install
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS
from tests.support.processes import free_port
from tests.support.waiting import wait_until

__all__ = ["corp", "store", "visitor"]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROMETHEUS is None, reason="NO PROMETHEUS: install it"),
]
EVERY = 0.3  # seconds between two faults
Provoke = Callable[[], object]


@pytest.fixture
def prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run Prometheus, which scrapes the metrics of this process; give its address."""
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    site = (http_metrics.gateway, http_metrics.http)
    for instruments in (telemetry, oauth_metrics.telemetry, *site):
        for kept in ("_counters", "_histograms", "_gauges", "_totals"):
            monkeypatch.setattr(instruments, kept, {})
        monkeypatch.setattr(instruments, "_is_enabled", True)
        meter = provider.get_meter("tests")
        monkeypatch.setitem(vars(instruments), "_created_meter", meter)
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1")
    try:
        with watching(tmp_path, port) as found:
            yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()


def assert_fires(
    prometheus: str, alarm: str, provoke: Provoke, *, others: Collection[str] = ()
) -> None:
    """Cause a fault until its alarm fires: not before, and no alarm but it and ``others``."""
    assert firing_alerts(prometheus) == set()
    last = 0.0

    def is_firing() -> bool:
        nonlocal last
        if time.monotonic() - last > EVERY:
            provoke()
            last = time.monotonic()
        return alarm in firing_alerts(prometheus)

    wait_until(is_firing, f"{alarm} fires", seconds=120)
    assert firing_alerts(prometheus) <= {alarm, *others}


def test_kms_that_cannot_be_reached_makes_data_keys_stale(prometheus: str) -> None:
    process = Process(background=False)
    process.generate(PERIOD)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    assert_fires(prometheus, "StaleDataKeys", lambda: process.generate(PERIOD))


def test_altered_record_is_refused(prometheus: str, store: Stack) -> None:
    session = save_session(a=1)
    item = next(iter(store.sessions().values()))
    store.put_item({**item, "authTag": {"B": bytes(16)}})

    def load() -> None:
        SessionStore(session.session_key).load()

    # It is read again before it counts as altered.
    assert_fires(prometheus, "RefusedRecords", load, others=["SuspectResponses"])


def test_not_before_item_of_next_week_is_ignored(prometheus: str, store: Stack) -> None:
    moment = {"N": str(int(store.clock()) + 7 * 86_400)}
    store.put_item({"id": {"S": "not-before#django"}, "version": {"N": "1"}, "notBefore": moment})

    def read() -> None:
        run_sync(store.services.not_before.moment())
        store.clock.advance(30)

    assert_fires(prometheus, "NotBeforeIgnored", read)


def test_clock_that_is_behind(prometheus: str) -> None:
    clock = ServerClock(local=lambda: time.time() - 90)
    assert_fires(prometheus, "ClockOffset", lambda: clock.observe(formatdate(usegmt=True)))


def test_record_of_a_time_that_is_yet_to_come(prometheus: str, store: Stack) -> None:
    session = save_session(a=1)
    store.clock.advance(-3 * 3600)

    def load() -> None:
        with suppress(StoreUnavailable):
            SessionStore(session.session_key).load()

    assert_fires(prometheus, "SuspectResponses", load)


def test_view_that_writes_at_each_request(prometheus: str, store: Stack) -> None:
    key = save_session(a=1).session_key

    def write_at_once() -> None:
        mine, theirs = SessionStore(key), SessionStore(key)
        mine["b"], theirs["c"] = time.time(), time.time()
        theirs.save()
        mine.save()

    assert_fires(prometheus, "Conflicts", write_at_once)


@pytest.fixture
def local_aws(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, local_kms: LocalKMS, roto_url: str
) -> None:
    """Have the engine's clients call a DynamoDB and a KMS of this machine."""
    settings.SESSION_ENGINE = "sessions_kms.backend"
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)


def test_dynamodb_that_hangs(
    prometheus: str, local_aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = aws_stack("servers", FakeClock(time.time()))
    services.reset()
    with socket.create_server(("127.0.0.1", 0)) as listener:  # It accepts, and says nothing.
        port = listener.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
        install(services.build(stack.config, clock=stack.clock))

        def load() -> None:
            with suppress(StoreUnavailable):
                SessionStore("x" * 32).load()

        def load_in_threads() -> None:
            threads = [Thread(target=load) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert_fires(
            prometheus, "CircuitOpened", load_in_threads, others=["SlowAWS", "TableErrors"]
        )


def test_kms_that_does_not_answer_is_named(
    prometheus: str, local_aws: None, monkeypatch: pytest.MonkeyPatch, local_kms: LocalKMS
) -> None:
    with running_proxy(local_kms.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", proxy.url)
        services.reset()
        install(aws_stack("servers", FakeClock(time.time())).services)
        proxy.on("GenerateDataKey", drop_connection)

        def save() -> None:
            with suppress(StoreUnavailable):
                save_session(a=1)

        assert_fires(prometheus, "KMSErrors", save, others=["SlowAWS"])


def test_clock_that_is_wrong_by_weeks_is_an_error_of_neither(prometheus: str, store: Stack) -> None:
    clock = ServerClock(local=lambda: time.time() - 30 * 86_400)
    for _ in range(5):
        clock.observe(formatdate(usegmt=True))
    install(replace(store.services, clock=clock))

    def save() -> None:
        with suppress(StoreUnavailable):
            save_session(a=1)

    assert_fires(prometheus, "SessionErrors", save, others=["ClockOffset"])


def test_database_that_is_down(prometheus: str) -> None:
    error = OperationalError("connection refused")
    assert_fires(prometheus, "DatabaseUnavailable", lambda: problems.database_outage.refused(error))


def test_rules_with_a_fault_at_sighup(prometheus: str, tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\naction = "allow"\ngroups = ["a"]\n', encoding="utf-8")
    settings.UPSTREAM_RULES = RulesInForce([read_api(POLICY_FILE=str(path))], ())
    path.write_text("x = 1", encoding="utf-8")
    assert_fires(prometheus, "ReloadFailed", reload_rules)


def test_tool_that_changes(prometheus: str) -> None:
    process = PinningProcess()
    numbers = count()
    assert_fires(
        prometheus,
        "ToolsChanged",
        lambda: process.lists(pinned_tool("a", f"changed {next(numbers)}")),
    )


def test_upstream_that_fails(prometheus: str) -> None:
    def call() -> None:
        scope = {"method": "GET", "scheme": "https"}
        TimedCall("people", "https://people.example.com", "GET").note_response(503)
        http_metrics.record_request(
            scope, 503, 0.1, route="gateway/", upstream="people", is_upstream_error=True
        )

    assert_fires(prometheus, "UpstreamErrors", call)  # and nobody is paged


def slow(exchange: Exchange) -> Response:
    exchange.closing.wait(0.3)
    return exchange.forward()


def test_dynamodb_that_is_slow(
    prometheus: str, local_aws: None, monkeypatch: pytest.MonkeyPatch, roto_url: str
) -> None:
    with running_proxy(roto_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", proxy.url)
        install(aws_stack("servers", FakeClock(time.time())).services)
        key = save_session(a=1).session_key
        proxy.on("GetItem", slow)
        assert_fires(prometheus, "SlowAWS", lambda: SessionStore(key).load())


def test_provider_that_is_down(
    prometheus: str, store: Stack, corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    corp.failing["/token"] = lambda: (503, "text/plain", b"")

    def refresh() -> None:
        store.clock.advance(4000)
        with suppress(ProviderUnavailable):
            get_token(visitor)
        store.clock.advance(-3000)  # The session must not end meanwhile.

    assert_fires(prometheus, "ProviderUnavailable", refresh)


def test_provider_that_revokes_grants(
    prometheus: str, store: Stack, corp: FakeProvider, visitor: Visitor
) -> None:
    def refresh() -> None:
        visitor.sign_in(corp)
        store.clock.advance(4000)
        corp.refresh_tokens.clear()
        with suppress(ReauthenticationRequired):
            get_token(visitor)

    assert_fires(prometheus, "GrantsRefused", refresh)


def test_callbacks_without_a_known_state(
    prometheus: str, corp: FakeProvider, visitor: Visitor
) -> None:
    callback = f"{address('corp')}callback/?code=a&state=b"
    assert_fires(prometheus, "SignInsFail", lambda: visitor.client.get(callback))


def test_audit_file_whose_folder_is_gone(prometheus: str, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    process = Machine(tmp_path / "audit/audit.jsonl").process("a")
    (tmp_path / "audit").rename(tmp_path / "gone")
    assert_fires(prometheus, "AuditLogUnwritable", lambda: process.sink.write([{"event": "call"}]))


def test_audit_queue_without_room(
    prometheus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Machine(tmp_path / "audit.jsonl").process("a")
    monkeypatch.setattr(file_writer, "QUEUE_MAX", 0)
    monkeypatch.setattr(file_writer, "SPARE", 0)
    queue = EventQueue(process.sink, clock=time.time)
    assert_fires(prometheus, "AuditEventsLost", lambda: queue.add({"event": "consent"}))


def test_kms_that_does_not_sign_the_audit_log(
    prometheus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Machine(tmp_path / "audit.jsonl").process("a")
    unreachable = Mock(side_effect=KMSUnavailable("KMS cannot be reached."))
    monkeypatch.setattr(MemoryKMS, "generate_mac", unreachable)
    assert_fires(
        prometheus, "AuditCheckpointMissing", lambda: process.sink._checkpoint(is_last=False)
    )
