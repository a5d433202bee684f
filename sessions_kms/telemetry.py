"""Metrics and spans by OpenTelemetry where `opentelemetry-api` is installed, nothing otherwise.

Events have fixed names, and attributes with few values: no ids, no keys, no user data.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

# https://opentelemetry.io/docs/specs/semconv/general/recording-errors/
ERROR_TYPE = "error.type"
SPANS, METRICS = "opentelemetry.trace", "opentelemetry.metrics"  # modules of the API
UNKNOWN = object()
# Seconds. The SDK's own are meant for milliseconds.
BOUNDARIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telemetry:
    """The instruments of one package. Their errors are logged, and never raised.

    Their names begin with ``prefix``, which is the package's name unless a convention has others.
    """

    def __init__(self, name: str, *, prefix: str | None = None) -> None:
        self._name = name
        self._prefix = prefix or name
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges: dict[str, Callable[[float], None]] = {}
        self._totals: dict[str, UpDownCounter] = {}
        self._is_enabled = False  # stays True: a provider is set once in a process

    def count(self, name: str, **attributes: str) -> None:
        """Count something that happened once."""
        if (meter := self._meter) is None:
            return
        with _harmless():
            if name not in self._counters:
                self._counters[name] = meter.create_counter(f"{self._prefix}.{name}")
            self._counters[name].add(1, attributes)

    def add(self, name: str, amount: int, **attributes: str) -> None:
        """Change how many there are of something now."""
        if (meter := self._meter) is None:
            return
        with _harmless():
            if name not in self._totals:
                self._totals[name] = meter.create_up_down_counter(f"{self._prefix}.{name}")
            self._totals[name].add(amount, attributes)

    def record(self, name: str, seconds: float, **attributes: str | int) -> None:
        """Record how long something took."""
        if (meter := self._meter) is None:
            return
        with _harmless():
            if name not in self._histograms:
                self._histograms[name] = meter.create_histogram(
                    f"{self._prefix}.{name}",
                    unit="s",
                    explicit_bucket_boundaries_advisory=BOUNDARIES,
                )
            self._histograms[name].record(seconds, attributes)

    def measure(self, name: str, seconds: float) -> None:
        """Record what something is now, in seconds."""
        if (meter := self._meter) is None:
            return
        with _harmless():
            if name not in self._gauges:
                self._gauges[name] = meter.create_gauge(f"{self._prefix}.{name}", unit="s").set
            self._gauges[name](seconds)

    def timed(self, name: str, **attributes: str) -> "Block":
        """Time a block of code: `with telemetry.timed(…) as done: … done.outcome = "none"`."""
        return NO_OP_BLOCK if self._meter is None else Timed(self, name, attributes)

    def spanned(self, name: str, operation: str, **attributes: str) -> "Block":
        """Time a block of code, and record a span."""
        if self._meter is None:
            return NO_OP_BLOCK
        attributes = {"operation": operation, **attributes}
        return Timed(self, name, attributes, span=f"{self._name} {operation}")

    @property
    def is_enabled(self) -> bool:
        """Whether anything is recorded: where attributes take time to collect, ask before."""
        return self._meter is not None

    @cached_property
    def tracer(self) -> "Tracer":
        """The tracer of this package."""
        from opentelemetry import trace

        return trace.get_tracer(self._name)

    @property
    def _meter(self) -> "Meter | None":
        """The meter, or None if no provider is set."""
        if not self._is_enabled:
            modules = sys.modules  # A process without the API has no provider, as most have none.
            if SPANS not in modules and METRICS not in modules and not self._is_configured:
                return None
            self._is_enabled = (
                self._is_configured or _is_set_up()
            ) and self._created_meter is not None
        return self._created_meter if self._is_enabled else None

    @cached_property
    def _is_configured(self) -> bool:
        """Whether the environment names a provider, which the API creates at its first use."""
        return any(f"OTEL_PYTHON_{each}_PROVIDER" in os.environ for each in ("TRACER", "METER"))

    @cached_property
    def _created_meter(self) -> "Meter | None":
        try:
            from opentelemetry import metrics, trace
        except ImportError:
            return None
        try:
            trace.get_tracer(self._name)  # creates the provider that the environment names
            return metrics.get_meter(self._name)
        except Exception as exc:  # noqa: BLE001 - a wrong OpenTelemetry setting, for example
            _log(exc)
            return None


def _is_set_up() -> bool:
    """Return True if a provider is set: without one, the API would cost 15 µs a load for nothing.

    A process that has not imported the API has set none, and starts 10 ms sooner without it. The
    names of the providers are not public, but the public functions read the environment each time.
    """
    spans, metrics = sys.modules.get(SPANS), sys.modules.get(METRICS)
    metrics = getattr(metrics, "_internal", metrics)
    return _has_provider(spans, "_TRACER_PROVIDER") or _has_provider(metrics, "_METER_PROVIDER")


def _has_provider(module: ModuleType | None, provider: str) -> bool:
    """Return True if a module of the API has a provider, or no longer has that name."""
    return module is not None and getattr(module, provider, UNKNOWN) is not None


class Block:
    """A block of code and its outcome, `ok` by default. Nothing is recorded."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome = "ok"

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End."""


NO_OP_BLOCK = Block()  # shared: its outcome is never read


class Timed(Block):
    """A recorded block; if it fails, the outcome is the class of the error.

    A span keeps neither message nor traceback of an error.
    """

    def __init__(
        self, telemetry: Telemetry, name: str, attributes: dict[str, str], span: str | None = None
    ) -> None:
        super().__init__()
        self._telemetry = telemetry
        self._name = name
        self._attributes = attributes
        self._span_name = span
        self._span: AbstractContextManager[Span] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        if self._span_name:
            with _harmless():
                self._begin_span(self._span_name)
        self._began = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End, and record the outcome."""
        seconds = perf_counter() - self._began
        outcome = {"outcome": self.outcome} if kind is None else _failure(kind)
        self._telemetry.record(self._name, seconds, **self._attributes, **outcome)
        if self._span is not None:
            with _harmless():
                self._end_span(self._span, outcome)

    def _begin_span(self, name: str) -> None:
        span = self._telemetry.tracer.start_as_current_span(
            name,
            attributes=self._attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._current = span.__enter__()
        self._span = span

    def _end_span(self, span: "AbstractContextManager[Span]", outcome: dict[str, str]) -> None:
        from opentelemetry.trace import StatusCode

        self._current.set_attributes(outcome)
        if outcome["outcome"] == "error":
            self._current.set_status(StatusCode.ERROR)
        span.__exit__(None, None, None)


def _failure(kind: type[BaseException]) -> dict[str, str]:
    """Return the attributes of an error: its class sets them by `telemetry_…`, or its name."""
    if outcome := getattr(kind, "telemetry_outcome", None):
        return {"outcome": outcome}
    return {"outcome": "error", ERROR_TYPE: getattr(kind, "telemetry_name", kind.__name__)}


@contextmanager
def _harmless() -> Iterator[None]:
    """Log errors of instruments: an exporter or its settings must not stop the engine."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001 - instruments may raise anything
        _log(exc)


def _log(error: Exception) -> None:
    logger.warning("OpenTelemetry failed: %s", type(error).__name__)


telemetry = Telemetry("sessions_kms")
