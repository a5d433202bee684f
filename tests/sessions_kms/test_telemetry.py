"""Metrics and spans: every operation with its outcome, and no id, key or person."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.format.item_types import session_id
from sessions_kms.telemetry import telemetry
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.fakes import State
from tests.sessions_kms.support.fleet import DAY, MAX_AGE, PERIOD, RENEWAL_AGE, Process, kms_keyring
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack
from tests.support.processes import output_of


class Recorded:
    """The metrics and spans recorded since the test began."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))

    def close(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], int]:
        """Return how often each set of attributes was recorded under a name."""
        data = self._reader.get_metrics_data()
        found: dict[frozenset[tuple[str, Any]], int] = {}
        for resource in data.resource_metrics if data else []:
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                for point in metric.data.data_points if metric.name == name else []:
                    number: Any = getattr(point, "count", None) or getattr(point, "value", 0)
                    found[frozenset((point.attributes or {}).items())] = number
        return found

    def buckets(self, name: str) -> list[list[int]]:
        """Return the bucket counts of a histogram's points."""
        data = self._reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return [
            list(getattr(point, "bucket_counts", []))
            for metric in metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def count(self, name: str, **attributes: str) -> int:
        """Return how often a name was recorded with these attributes among others."""
        wanted = set(attributes.items())
        return sum(times for entries, times in self.points(name).items() if wanted <= entries)

    def spans(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (span.name, dict(span.attributes or {})) for span in self._spans.get_finished_spans()
        ]

    def everything(self) -> str:
        """Return everything recorded, as text."""
        metrics = repr(self._reader.get_metrics_data())
        return metrics + "".join(span.to_json() for span in self._spans.get_finished_spans())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    made = Recorded()
    monkeypatch.setattr(telemetry, "_counters", {})
    monkeypatch.setattr(telemetry, "_histograms", {})
    monkeypatch.setattr(telemetry, "_is_enabled", True)
    monkeypatch.setitem(vars(telemetry), "_created_meter", made.meters.get_meter("sessions_kms"))
    monkeypatch.setitem(vars(telemetry), "tracer", made.tracers.get_tracer("sessions_kms"))
    yield made
    made.close()


def test_operations_are_recorded_with_their_outcome(stack: Stack, recorded: Recorded) -> None:
    session = save_session(a=1)
    SessionStore(session.session_key).load()
    SessionStore("x" * 32).load()
    session["a"] = 2
    session.save()
    session.cycle_key()
    session.delete()
    entries = [
        ("create", "ok"),
        ("load", "ok"),
        ("load", "none"),
        ("save", "ok"),
        ("cycle", "ok"),
    ]
    for operation, outcome in [*entries, ("delete", "ok")]:
        name = "sessions_kms.operation"
        assert recorded.count(name, operation=operation, outcome=outcome) == 1, operation
    assert [name for name, _ in recorded.spans()] == [
        f"sessions_kms {operation}" for operation, _ in [*entries, ("delete", "ok")]
    ]


def test_calls_to_aws_are_recorded(make_stack: MakeStack, recorded: Recorded) -> None:
    stack = make_stack()
    if stack.kind == "fake":
        pytest.skip("the fakes call nothing")
    key = save_session(a=1).session_key
    SessionStore(key).load()
    for service, operation in [
        ("dynamodb", "put_item"),
        ("dynamodb", "get_item"),
        ("kms", "generate_data_key"),
    ]:
        assert recorded.count("sessions_kms.aws", service=service, operation=operation) >= 1


def test_data_keys_are_recorded_with_their_source(fake: Stack, recorded: Recorded) -> None:
    key = save_session(a=1).session_key
    SessionStore(key).load()
    assert recorded.count("sessions_kms.data_keys", use="seal", source="asked") == 1
    assert recorded.count("sessions_kms.data_keys", use="open", source="cache") == 1


def test_each_use_of_a_data_key_is_recorded_with_its_source(recorded: Recorded) -> None:
    process = Process(background=False)
    old = run_sync(kms_keyring(process.kms).generate(PERIOD - DAY))
    for _ in ("asked", "cache"):
        process.generate(PERIOD)
        process.unwrap(old.encrypted, old.period)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    process.generate(PERIOD)
    process.unwrap(old.encrypted, old.period)
    entries = [(use, source) for use in ("seal", "open") for source in ("asked", "cache", "stale")]
    cause = {"stale": {("error.type", "KMSUnavailable")}}
    assert recorded.points("sessions_kms.data_keys") == {
        frozenset({("use", use), ("source", source)} | cause.get(source, set())): 1
        for use, source in entries
    }


def test_key_whose_renewal_is_due_is_recorded_as_cached(recorded: Recorded) -> None:
    process = Process()
    old = run_sync(kms_keyring(process.kms).generate(PERIOD - DAY))
    process.generate(PERIOD)
    process.unwrap(old.encrypted, old.period)
    process.clock.advance(RENEWAL_AGE + 1)
    process.generate(PERIOD)
    process.unwrap(old.encrypted, old.period)
    for use in ("seal", "open"):
        for source in ("asked", "cache"):
            assert recorded.count("sessions_kms.data_keys", use=use, source=source) == 1


def test_conflict_and_merge_are_counted(fake: Stack, recorded: Recorded) -> None:
    session = save_session(a=1)
    mine, theirs = SessionStore(session.session_key), SessionStore(session.session_key)
    mine["b"], theirs["c"] = 1, 1
    theirs.save()
    mine.save()
    assert recorded.count("sessions_kms.conflicts") == recorded.count("sessions_kms.merges") == 1


def test_refusal_is_counted_by_its_reason(fake: Stack, recorded: Recorded) -> None:
    session = save_session(a=1)
    item = next(iter(fake.sessions().values()))
    fake.put_item({**item, "authTag": {"B": bytes(16)}})
    assert SessionStore(session.session_key).load() == {}
    assert recorded.count("sessions_kms.refusals", reason="authentication") == 1
    assert recorded.count("sessions_kms.operation", operation="load", outcome="refused") == 1


def test_moment_too_far_ahead_is_counted_at_each_reading(fake: Stack, recorded: Recorded) -> None:
    moment = {"N": str(int(fake.clock()) + 86_400)}
    fake.put_item({"id": {"S": "not-before#django"}, "version": {"N": "1"}, "notBefore": moment})
    for _ in range(2):
        assert run_sync(fake.services.not_before.moment()) == 0
        fake.clock.advance(30)
    assert recorded.count("sessions_kms.not_before.ignored", source="item") == 2


def test_outage_is_recorded_by_the_errors_class_only(fake: Stack, recorded: Recorded) -> None:
    session = save_session(a=1)
    fake.dynamodb.unavailable = True
    with pytest.raises(StoreUnavailable):
        SessionStore(session.session_key).load()
    attributes = {"operation": "load", "outcome": "error", "error.type": "TableUnavailable"}
    assert recorded.count("sessions_kms.operation", **attributes) == 1
    assert ("sessions_kms load", attributes) in recorded.spans()


def test_metrics_name_no_session_key_or_person(fake: Stack, recorded: Recorded) -> None:
    session = save_session(**{USER_ID: "person-4711", "token": "secret-token"})
    first = session.session_key or ""
    session.cycle_key()
    SessionStore(session.session_key).load()
    entries = recorded.everything()
    ids = [session_id("django", key)[:6] for key in (first, session.session_key or "")]
    assert [word for word in [first, "person-4711", "secret-token", *ids] if word in entries] == []


def test_unconfigured_key_is_recorded_by_the_public_class(fake: Stack, recorded: Recorded) -> None:
    with pytest.raises(IncorrectKey), telemetry.spanned("operation", "load"):
        raise IncorrectKey
    assert recorded.count("sessions_kms.operation", **{"error.type": "KMSUnavailable"}) == 1


def test_condition_that_does_not_hold_is_no_error(
    make_stack: MakeStack, recorded: Recorded
) -> None:
    if make_stack().kind == "fake":
        pytest.skip("the fakes call nothing")
    session = save_session(a=1)
    mine, theirs = SessionStore(session.session_key), SessionStore(session.session_key)
    mine["b"], theirs["c"] = 1, 1
    theirs.save()
    mine.save()
    assert recorded.count("sessions_kms.aws", outcome="condition") == 1
    assert recorded.count("sessions_kms.aws", outcome="error") == 0


def test_histograms_distinguish_milliseconds_from_seconds(fake: Stack, recorded: Recorded) -> None:
    for seconds in (0.004, 0.09, 0.9):
        telemetry.record("aws", seconds, service="dynamodb")
    (counts,) = recorded.buckets("sessions_kms.aws")
    assert sorted(count for count in counts if count) == [1, 1, 1]


class Broken:
    """Instruments, and spans, that fail at whatever is asked of them."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("the exporter is broken")


def test_broken_instruments_stop_nothing(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_counters", {})
    monkeypatch.setattr(telemetry, "_histograms", {})
    monkeypatch.setattr(telemetry, "_is_enabled", True)
    monkeypatch.setitem(vars(telemetry), "_created_meter", Broken())
    monkeypatch.setitem(vars(telemetry), "tracer", Broken())
    session = save_session(a=1)
    assert SessionStore(session.session_key)["a"] == 1
    fake.dynamodb.unavailable = True
    with pytest.raises(StoreUnavailable):
        SessionStore(session.session_key).load()


SPANS_SEEN = """
from opentelemetry import trace
from sessions_kms.telemetry import NO_OP_BLOCK, telemetry
before = telemetry.spanned("operation", "load") is NO_OP_BLOCK
{change}
with telemetry.spanned("operation", "load"):
    print(before, trace.get_current_span().is_recording())
"""


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("", "True False"),
        (
            "from opentelemetry.sdk.trace import TracerProvider as Provider\n"
            "trace.set_tracer_provider(Provider(shutdown_on_exit=False))",
            "True True",
        ),
        (
            "provider = __import__('opentelemetry.sdk.trace').sdk.trace.TracerProvider()\n"
            "trace.get_tracer = lambda *_: provider.get_tracer('a')\n"
            "del trace._TRACER_PROVIDER",
            "True True",
        ),
    ],
    ids=["nobody", "set up later", "its own names changed"],
)
def test_spans_are_created_if_a_provider_is_set(change: str, seen: str) -> None:
    assert output_of(SPANS_SEEN.format(change=change)) == seen


def test_provider_that_the_environment_names_is_listened_to() -> None:
    environment = os.environ | {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}
    assert output_of(SPANS_SEEN.format(change=""), environment) == "False True"


METERS_SEEN = """
import sys
from sessions_kms.telemetry import METRICS, SPANS, telemetry
telemetry.count("merges")
before = sorted(sys.modules.keys() & {{METRICS, SPANS}})
from opentelemetry import metrics
{change}
telemetry.count("merges")
print(before, len(telemetry._counters))
"""


@pytest.mark.parametrize(
    ("change", "entries"),
    [
        ("", 0),
        (
            "from opentelemetry.sdk.metrics import MeterProvider as Provider\n"
            "metrics.set_meter_provider(Provider(shutdown_on_exit=False))",
            1,
        ),
        (
            "provider = __import__('opentelemetry.sdk.metrics').sdk.metrics.MeterProvider()\n"
            "metrics.get_meter = lambda *_: provider.get_meter('a')\n"
            "del metrics._internal._METER_PROVIDER",
            1,
        ),
        ("del metrics._internal", 1),
    ],
    ids=["nobody", "set up later", "its own names changed", "its own modules changed"],
)
def test_opentelemetry_is_imported_if_a_provider_is_set(change: str, entries: int) -> None:
    assert output_of(METERS_SEEN.format(change=change)) == f"[] {entries}"


def test_broken_settings_of_opentelemetry_stop_nothing() -> None:
    code = """
from sessions_kms.telemetry import telemetry
telemetry.count("merges")
with telemetry.spanned("operation", "load"): pass
print("fine")
"""
    environment = os.environ | {"OTEL_PYTHON_METER_PROVIDER": "nobody"}
    assert output_of(code, environment) == "fine"


@pytest.mark.slow
def test_engine_works_where_opentelemetry_is_not_installed() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from django.conf import settings
settings.configure(SESSION_ENGINE="sessions_kms.backend", USE_TZ=True)
import time
from tests.support.clock import FakeClock
from tests.sessions_kms.support.stacks import fake_stack, install
install(fake_stack(FakeClock(time.time())).services)
from sessions_kms.backend import SessionStore
session = SessionStore()
session["a"] = 1
session.save()
print(SessionStore(session.session_key)["a"], session.cycle_key())
"""
    assert output_of(code) == "1 None"
