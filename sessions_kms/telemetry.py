"""Metrics and spans by OpenTelemetry where `opentelemetry-api` is installed, nothing otherwise.

What happened enters under fixed names, with words of few values: no id, no key, no person.
"""

from functools import cached_property
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter
    from opentelemetry.trace import Tracer

# https://opentelemetry.io/docs/specs/semconv/general/recording-errors/
ERROR_TYPE = "error.type"


class Telemetry:
    """The instruments of one package."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, name: str, **attributes: str) -> None:
        """Count something that happened once."""
        if (meter := self._meter) is None:
            return
        if name not in self._counters:
            self._counters[name] = meter.create_counter(f"{self._name}.{name}")
        self._counters[name].add(1, attributes)

    def record(self, name: str, seconds: float, **attributes: str) -> None:
        """Record how long something took."""
        if (meter := self._meter) is None:
            return
        if name not in self._histograms:
            self._histograms[name] = meter.create_histogram(f"{self._name}.{name}", unit="s")
        self._histograms[name].record(seconds, attributes)

    def timed(self, name: str, **attributes: str) -> "Timed":
        """Time a block of code: `with telemetry.timed(…) as done: … done.outcome = "none"`."""
        return Timed(self, name, attributes)

    def spanned(self, name: str, operation: str, **attributes: str) -> "Timed":
        """Time a block of code, as a span of its own besides."""
        span = f"{self._name} {operation}" if self._meter else None
        return Timed(self, name, {"operation": operation, **attributes}, span=span)

    @cached_property
    def tracer(self) -> "Tracer":
        """The tracer, where there is one."""
        from opentelemetry import trace

        return trace.get_tracer(self._name)

    @cached_property
    def _meter(self) -> "Meter | None":
        try:
            from opentelemetry import metrics
        except ImportError:
            return None
        return metrics.get_meter(self._name)


class Timed:
    """A block of code and its outcome: `ok` unless it says otherwise, or the error's class.

    A span keeps neither message nor traceback of an error.
    """

    def __init__(
        self, telemetry: Telemetry, name: str, attributes: dict[str, str], span: str | None = None
    ) -> None:
        self.outcome = "ok"
        self._telemetry = telemetry
        self._name = name
        self._attributes = attributes
        self._span: Any = None
        if span:
            self._span = telemetry.tracer.start_as_current_span(
                span,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            )

    def __enter__(self) -> "Timed":
        """Begin."""
        if self._span:
            self._current = self._span.__enter__()
        self._began = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, and tell what became of it."""
        seconds = perf_counter() - self._began
        failed = {ERROR_TYPE: kind.__name__} if kind else {}
        outcome = {"outcome": "error" if kind else self.outcome, **failed}
        self._telemetry.record(self._name, seconds, **self._attributes, **outcome)
        if self._span:
            self._current.set_attributes(outcome)
            self._span.__exit__(None, None, None)


telemetry = Telemetry("sessions_kms")
