"""Metrics as Prometheus gets them from a running gateway, and what a client cannot do to them."""

import gzip
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from django.core.exceptions import ImproperlyConfigured
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from gateway_site.edge.http_metrics import METHODS, OTHER
from gateway_site.server.exporters import SHUTDOWN_MAX, check_workers, start_exporter
from tests.deploy_check import PRODUCTION
from tests.gateway_site.server.served import read_all
from tests.gateway_site.server.starting import PAGE, start
from tests.gateway_site.support.gateways import Gateway, prometheus_variables, running_gateway
from tests.support.cases import each_case
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.processes import free_port, run_to_end
from tests.support.waiting import wait_until

SERVER, CLIENT = "http_server_request_duration_seconds", "http_client_request_duration_seconds"
Labels = dict[str, str]


class Scraped:
    """A gateway, and what Prometheus would get from it."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.address = f"http://127.0.0.1:{port}/metrics"

    def labels(self, name: str, suffix: str = "_count") -> list[Labels]:
        """Return the labels of each series of a metric."""
        text = requests.get(self.address, timeout=30).text
        return [
            sample.labels
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name + suffix
        ]

    def has(self, name: str, **labels: str) -> bool:
        wanted = labels.items()
        return any(wanted <= found.items() for found in self.labels(name))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    port = free_port()
    with running_gateway(
        tmp_path_factory.mktemp("metrics"), variables=prometheus_variables(port)
    ) as gateway:
        yield Scraped(gateway, port)


def test_call_is_counted_at_the_gateway_and_at_its_upstream(scraped: Scraped) -> None:
    assert scraped.gateway.get("echo/people?code=secret").status_code == 200
    named = {"http_request_method": "GET", "http_response_status_code": "200"}
    server = {**named, "gateway_upstream": "echo", "url_scheme": "http"}
    wait_until(lambda: scraped.has(SERVER, **server), "the call is counted")
    [found] = [each for each in scraped.labels(SERVER) if server.items() <= each.items()]
    assert found["http_route"] == "gateway/<path:path>"
    wait_until(lambda: scraped.has(CLIENT, **named, gateway_upstream="echo"), "at the upstream")


def test_failed_upstream_is_counted_with_the_type_of_its_error(scraped: Scraped) -> None:
    assert scraped.gateway.get("dead/").status_code == 502
    [found] = [each for each in scraped.labels(CLIENT) if each["gateway_upstream"] == "dead"]
    assert found["error_type"] == "ConnectError"
    assert scraped.has(SERVER, error_type="upstream", gateway_upstream="dead")


def test_errors_that_upstreams_make_or_cause_are_told_from_the_gateways_own(
    scraped: Scraped,
) -> None:
    """Adversary: the careless upstream. Its errors page nobody."""
    gateway = scraped.gateway
    gateway.canned.responses["/away"] = b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"
    assert gateway.get("echo/answer?status=503").status_code == 503
    assert gateway.get("canned/away").status_code == 502
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    unreadable = gateway.writer().post(f"{gateway.url}/gateway/read/", json=ping, headers=accept)
    assert unreadable.status_code == 502
    with gateway.switch("store/down", "store/up"):
        assert gateway.get("echo/").status_code == 503
    found = {
        (each.get("gateway_upstream"), each["http_response_status_code"], each["error_type"])
        for each in scraped.labels(SERVER)
        if each["http_response_status_code"].startswith("5")
    }
    assert found >= {
        ("echo", "503", "upstream"),
        ("canned", "502", "upstream"),
        ("read", "502", "upstream"),
        ("", "503", "503"),
    }


def test_engine_is_counted_beside_it(scraped: Scraped) -> None:
    scraped.gateway.get("echo/")
    assert scraped.has("sessions_kms_operation_seconds", operation="load", outcome="ok")


@pytest.mark.slow
def test_client_cannot_create_series(scraped: Scraped) -> None:
    gateway = scraped.gateway
    gateway.get("echo/")
    before = scraped.labels(SERVER)
    for number in range(60):
        method = f"M{number}".encode()
        for path in (f"/gateway/echo/{number}", f"/{number}", f"/gateway/u{number}/a"):
            gateway.raw(
                method + b" " + path.encode() + b" HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n"
                b"Connection: close\r\n\r\n"
            )
            gateway.client().get(f"{gateway.url}{path}", timeout=30)
    after = scraped.labels(SERVER)
    assert len(after) - len(before) < 12
    assert {each["http_request_method"] for each in after} <= METHODS | {OTHER}
    routes = {each.get("http_route", "") for each in after}
    assert all(not any(letter.isdigit() for letter in route) for route in routes)
    # The call above may have been counted after the first look.
    known = {each.get("gateway_upstream", "") for each in before} | {"", "echo"}
    assert {each.get("gateway_upstream", "") for each in after} <= known


def test_no_label_names_a_person_or_a_secret(scraped: Scraped) -> None:
    scraped.gateway.get("echo/?token=secret")
    text = requests.get(scraped.address, timeout=30).text
    assert "secret" not in text
    assert not any(key in text for key in scraped.gateway.keys)


class Collector(QuietHandler):
    """Takes what OTLP over HTTP sends, and keeps the names of the metrics."""

    names: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        body = self.read_body()
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        sent = ExportMetricsServiceRequest.FromString(body)
        if self.path == "/v1/metrics":
            self.names.update(
                metric.name
                for resource in sent.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            )
        self.respond(200, media_type="application/x-protobuf")


@pytest.mark.slow
def test_collector_gets_the_metrics_by_otlp(tmp_path: Path) -> None:
    wanted = {
        "http.server.request.duration",
        "http.client.request.duration",
        "sessions_kms.operation",
    }
    with collecting() as url:
        variables = otlp(url) | {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
        with running_gateway(tmp_path, variables=variables) as gateway:
            assert gateway.get("echo/").status_code == 200
            wait_until(lambda: wanted <= Collector.names, "the metrics arrive")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two"])
def test_last_interval_is_exported_at_sigterm(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Without it, what a process counted in its last minute would be lost at each deploy."""
    with collecting() as url, start(tmp_path, *workers, **otlp(url)) as started:
        read_all(started.connect(PAGE))
        assert Collector.names == set()  # The interval is a minute.
        started.process.send_signal(signal.SIGTERM)
        started.process.wait(30)
        assert "http.server.request.duration" in Collector.names


@pytest.mark.slow
def test_collector_that_hangs_delays_the_end_by_two_seconds_at_most(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variables = otlp(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with start(tmp_path, **variables) as started:
            read_all(started.connect(PAGE))
            started.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            started.process.wait(30)
            # Its own limit is ten seconds. The rest is the machine's.
            assert time.monotonic() - began < SHUTDOWN_MAX + 4


def otlp(url: str) -> dict[str, str]:
    chosen = {"OTEL_METRICS_EXPORTER": "otlp", "DRAIN_SECONDS": "0"}
    return chosen | {"OTEL_EXPORTER_OTLP_ENDPOINT": url}


@contextmanager
def collecting() -> Iterator[str]:
    """Run a collector that has received nothing yet."""
    Collector.names.clear()
    with serve_handler(Collector) as address:
        yield address


@pytest.mark.parametrize("options", [["--workers", "2"], ["--workers=2"]])
def test_prometheus_with_workers_is_rejected_with_a_remedy(options: list[str]) -> None:
    environment = PRODUCTION | {"OTEL_METRICS_EXPORTER": "prometheus"}
    serve = [sys.executable, "-m", "gateway_site", "serve", *options]
    done = run_to_end(serve, environment | {"PATH": "/usr/bin"})
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert "OTEL_METRICS_EXPORTER=prometheus is for one process" in line
    assert "otlp" in line


@each_case(
    ("environment", "options", "is_rejected"),
    [
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, [], False),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, ["--port", "1", "--workers", "1"], False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, ["--workers", "8"], False),
        ({"OTEL_METRICS_EXPORTER": "none"}, ["--workers", "8"], False),
        ({}, ["--workers", "8"], False),
        ({"OTEL_METRICS_EXPORTER": "prometheus", "WEB_CONCURRENCY": "2"}, [], True),
        ({"OTEL_METRICS_EXPORTER": "prometheus", "UVICORN_WORKERS": "2"}, [], True),
    ],
)
def test_only_prometheus_is_for_one_process(
    environment: dict[str, str], options: list[str], is_rejected: bool
) -> None:
    if is_rejected:
        with pytest.raises(ImproperlyConfigured):
            check_workers(environment, options)
    else:
        check_workers(environment, options)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_METRICS_EXPORTER": "statsd"}, "must be one of these: otlp, prometheus, none"),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "x"},
            "Set OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "70000"},
            "Set OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT",
        ),
    ],
)
def test_wrong_variable_is_one_error_with_a_remedy(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        start_exporter(environment)


def test_missing_packages_are_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install '.*-gateway\[otel\]'"):
        start_exporter({"OTEL_METRICS_EXPORTER": "otlp"})


@pytest.mark.slow
def test_nothing_is_imported_where_nothing_is_exported() -> None:
    code = (
        "import sys, gateway_site.server\n"
        "sys.exit(any('opentelemetry' in name for name in sys.modules))"
    )
    assert run_to_end([sys.executable, "-c", code], {"PATH": "/usr/bin"}).returncode == 0
