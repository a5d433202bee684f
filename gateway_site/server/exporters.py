"""The exporter of metrics that `OTEL_METRICS_EXPORTER` names: `otlp`, `prometheus`, or none.

All else is set by OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT` and
`OTEL_EXPORTER_PROMETHEUS_PORT`.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import argparse
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

VARIABLE: Final = "OTEL_METRICS_EXPORTER"
NONE, OTLP, PROMETHEUS = "none", "otlp", "prometheus"
PROMETHEUS_ADDRESS: Final = ("localhost", 9464)  # as OpenTelemetry's specification has it
SHUTDOWN_MAX: Final = 2.0  # seconds
MISSING: Final = (
    f"{VARIABLE} is set, and OpenTelemetry's exporters are not installed: "
    "pip install 'django-sessions-kms-gateway[otel]'."
)

_pushing: "list[MeterProvider]" = []


def start_exporter(environment: MutableMapping[str, str]) -> None:
    """Export this process's metrics from now on, if the environment names an exporter.

    Raises ImproperlyConfigured.
    """
    if (chosen := _chosen(environment)) == NONE:
        return
    environment.setdefault("OTEL_SERVICE_NAME", "gateway")
    try:
        from opentelemetry import metrics  # noqa: PLC0415 - most processes need none of it
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above

        reader = _push() if chosen == OTLP else _serve(environment)
    except ImportError as error:
        raise ImproperlyConfigured(MISSING) from error
    provider = MeterProvider(metric_readers=[reader])
    metrics.set_meter_provider(provider)
    if chosen == OTLP:
        _pushing.append(provider)


def export_rest() -> None:
    """Push what was recorded since the last interval, for two seconds at most.

    uvicorn ends the process by the signal itself, so that no function of `atexit` runs.
    """
    while _pushing:
        # The collector may hang: the thread that pushes ends with the process.
        stop = partial(_pushing.pop().shutdown, timeout_millis=SHUTDOWN_MAX * 1000)
        thread = threading.Thread(target=stop, daemon=True)
        thread.start()
        thread.join(SHUTDOWN_MAX)


def check_workers(environment: Mapping[str, str], options: Sequence[str]) -> None:
    """Raise ImproperlyConfigured if several processes would listen on Prometheus's port."""
    if _chosen(environment) == PROMETHEUS and _workers(environment, options) > 1:
        raise ImproperlyConfigured(
            f"{VARIABLE}=prometheus is for one process. With --workers, use otlp and a collector."
        )


def _chosen(environment: Mapping[str, str]) -> str:
    chosen = environment.get(VARIABLE, "").strip() or NONE
    if chosen not in {NONE, OTLP, PROMETHEUS}:
        raise ImproperlyConfigured(f"{VARIABLE} must be one of these: otlp, prometheus, none.")
    return chosen


def _workers(environment: Mapping[str, str], options: Sequence[str]) -> int:
    """Return uvicorn's number of workers; uvicorn itself rejects what is no number."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--workers")
    named, _ = parser.parse_known_args(list(options))
    variables = (environment.get(name) for name in ("UVICORN_WORKERS", "WEB_CONCURRENCY"))
    found = next((each for each in (named.workers, *variables) if each), "1")
    return int(found) if found.isdecimal() else 1


def _push() -> "MetricReader":
    """Return what sends the metrics to a collector once a minute."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - as above
        OTLPMetricExporter,
    )
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415 - as above
        PeriodicExportingMetricReader,
    )

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _serve(environment: Mapping[str, str]) -> "MetricReader":
    """Return what answers Prometheus on a port of its own."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - as above
    from prometheus_client import start_http_server  # noqa: PLC0415 - as above

    host, port = PROMETHEUS_ADDRESS
    host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or host
    text = environment.get("OTEL_EXPORTER_PROMETHEUS_PORT", "").strip() or str(port)
    try:
        start_http_server(int(text), host)
    except (OSError, OverflowError, ValueError) as error:
        raise ImproperlyConfigured(
            f"Prometheus cannot be answered at {host}:{text}: {error}. "
            "Set OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT."
        ) from error
    return PrometheusMetricReader()
