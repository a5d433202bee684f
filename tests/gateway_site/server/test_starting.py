"""The server as an operator starts it, in a separate process with 300 descriptors."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from gateway_site import server as product
from gateway_site.edge.descriptors import RESERVED
from gateway_site.server import APPLICATION, OPTIONS, arguments, default_timeouts
from tests.gateway_site.server.served import read_all
from tests.gateway_site.server.starting import (
    DESCRIPTORS,
    HEALTH,
    PAGE,
    WORKING,
    Started,
    command,
    environment,
    start,
)
from tests.support.processes import free_ports, run_to_end
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with start(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def server(process: Started) -> Iterator[Started]:
    yield process
    process.hang_up()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["silent", "half a head"])
def test_more_silent_connections_than_descriptors_leave_health_and_pages_answering(
    server: Started, sent: bytes
) -> None:
    for number in range(DESCRIPTORS + 50):
        server.connect(sent, source=f"127.0.1.{number % 250 + 1}")
        if number % 50 == 0:
            assert_healthy(server)
    assert_healthy(server)
    assert read_all(server.connect(PAGE)).startswith(b"HTTP/1.1 404 ")


def test_more_working_connections_than_descriptors_leave_health_answering(
    server: Started,
) -> None:
    def is_full() -> bool:
        for number in range(DESCRIPTORS + 50):
            with suppress(ConnectionResetError):  # dropped already
                server.connect(WORKING, source=f"127.0.2.{number % 250 + 1}")
            if number % 50 == 0:
                assert_healthy(server)
        assert_healthy(server)
        return read_all(server.connect(PAGE)).startswith(b"HTTP/1.1 503 ")

    # On a busy machine the first ones are over, as slow clients, before the last ones come.
    wait_until(is_full, "it rejects requests")


def assert_healthy(server: Started) -> None:
    assert read_all(server.connect(HEALTH)).startswith(b"HTTP/1.1 200 ")
    assert server.process.num_fds() <= DESCRIPTORS - RESERVED


@pytest.mark.parametrize("header", [b"Host: a\r\nHost: b", b"X: y"], ids=["two hosts", "no host"])
def test_rules_of_our_own_protocol_hold(server: Started, header: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\n" + header + b"\r\n\r\n"
    assert read_all(server.connect(request)).startswith(b"HTTP/1.1 400 ")


def test_each_request_is_one_line_of_the_log_without_its_query_and_a_health_check_none(
    server: Started,
) -> None:
    for path in (
        b"/one?code=canary",
        b"/healthz?canary",
        b"/readyz",
        b"/two?code=canary",
        b"/last",
    ):
        read_all(server.connect(PAGE.replace(b"/nothing", path)))
    wait_until(lambda: "/last" in server.log.read_text("utf-8"), "the last request is logged")
    log = server.log.read_text("utf-8")
    lines = {path: log.count(path) for path in ("/one", "/two", "/healthz", "/readyz")}
    assert lines == {"/one": 1, "/two": 1, "/healthz": 0, "/readyz": 0}
    assert "canary" not in log


def test_options_are_those_of_runserver_and_one_on_the_command_line_counts_more() -> None:
    def understands(*more: str) -> dict[str, Any]:
        return uvicorn.main.make_context("x", [APPLICATION, *arguments(), *more]).params

    assert {name: understands()[name] for name in OPTIONS} == OPTIONS
    assert understands("--http", "h11", "--proxy-headers")["http"] == "h11"
    assert understands("--proxy-headers")["proxy_headers"] is True


@pytest.mark.parametrize(
    ("variables", "options", "keep_alive"),
    [
        ({}, [], 5),
        ({"TRUSTED_PROXIES": " "}, [], 5),
        ({"TRUSTED_PROXIES": "10.0.0.0/8"}, [], 75),
        ({"TRUSTED_PROXIES": "10.0.0.0/8"}, ["--timeout-keep-alive", "9"], 9),
        ({"TRUSTED_PROXIES": "10.0.0.0/8", "UVICORN_TIMEOUT_KEEP_ALIVE": "8"}, [], 8),
    ],
)
def test_idle_connections_outlive_a_proxy_s_unless_an_option_says_otherwise(
    variables: dict[str, str], options: list[str], keep_alive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = understood_by_default(variables, *options)
    assert found["timeout_keep_alive"] == keep_alive
    assert found["timeout_graceful_shutdown"] == 25


def test_time_for_open_requests_is_an_option_of_the_command_line_too() -> None:
    found = understood_by_default({}, "--timeout-graceful-shutdown", "3")
    assert found["timeout_graceful_shutdown"] == 3


def understood_by_default(variables: dict[str, str], *options: str) -> dict[str, Any]:
    """Return how uvicorn understands a command line with our defaults."""
    line = [APPLICATION, *arguments(), *options]
    found = uvicorn.main.make_context("x", line, default_map=default_timeouts(variables))
    return found.params


def test_serve_passes_these_defaults_on(monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, Any] = {}
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8")
    monkeypatch.setattr(uvicorn.main, "main", lambda _, **options: got.update(options))
    product.run([], program="x")
    assert got["default_map"] == default_timeouts(os.environ)
    assert got["default_map"]["timeout_keep_alive"] == 75


@pytest.mark.slow
def test_trusted_proxy_that_is_no_network_is_one_line_of_the_log(tmp_path: Path) -> None:
    env = environment(tmp_path, TRUSTED_PROXIES="everybody")
    done = run_to_end(command(free_ports(1)[0]), env)
    assert done.returncode == 1
    assert done.stderr.startswith("ImproperlyConfigured: TRUSTED_PROXIES")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two"])
def test_draining_process_is_not_ready_but_serves_until_the_time_is_over(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    """The wait is of the server's own clock: only its ends are looked at."""
    with start(tmp_path, *workers, DRAIN_SECONDS="4") as started:
        ready = HEALTH.replace(b"healthz", b"readyz")
        started.process.send_signal(signal.SIGTERM)
        while b"draining" not in (told := read_all(started.connect(ready))):
            time.sleep(0.01)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert read_all(started.connect(PAGE)).startswith(b"HTTP/1.1 404 ")
        started.process.wait(30)


@pytest.mark.long
@pytest.mark.parametrize(("proxies", "is_kept"), [("", False), ("127.0.0.1", True)])
def test_idle_connection_of_a_trusted_proxy_is_kept_for_longer(
    tmp_path: Path, proxies: str, is_kept: bool
) -> None:
    """Ten seconds are twice the time for others, which a busy machine may exceed."""
    with start(tmp_path, TRUSTED_PROXIES=proxies) as started:
        client = started.connect(HEALTH.replace(b"Connection: close\r\n", b""))
        found = b""
        while not found.endswith(b"\r\n0\r\n\r\n"):  # the end of a chunked body
            more = client.recv(65536)
            assert more, "the server has closed"
            found += more
        client.settimeout(10 if is_kept else 60)
        try:
            closed = client.recv(1) == b""
        except TimeoutError:
            closed = False
        assert closed is not is_kept


@pytest.mark.long
def test_each_of_several_workers_is_bounded(tmp_path: Path) -> None:
    with start(tmp_path, "--workers", "2") as started:
        for number in range(2 * DESCRIPTORS + 100):
            started.connect(source=f"127.0.1.{number % 250 + 1}")
        for _ in range(20):
            assert read_all(started.connect(HEALTH)).startswith(b"HTTP/1.1 200 ")
        workers = started.process.children()
        bounded = [each for each in workers if each.num_fds() > 20]
        assert len(bounded) >= 2
        assert all(each.num_fds() <= DESCRIPTORS - RESERVED for each in bounded)


@pytest.mark.long
def test_slow_clients_are_closed_in_real_time(tmp_path: Path) -> None:
    """The times that other tests put the clock forward by, on the clock as it is."""
    with start(tmp_path) as started:
        began = time.monotonic()
        silent, half = started.connect(), started.connect(b"GET / HTTP/1.1\r\nHo")
        working = started.connect(WORKING)
        working.settimeout(60)  # it is answered twenty seconds after the others
        assert read_all(silent) == b""
        assert read_all(half).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began >= 10
        assert read_all(working).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began >= 30


@pytest.mark.long
def test_process_stops_on_request_with_slow_clients_connected(tmp_path: Path) -> None:
    with start(tmp_path) as started:
        for sent in (b"", b"GET / HTTP/1.1\r\nHo", WORKING):
            started.connect(sent)
        started.process.send_signal(signal.SIGTERM)
        started.process.wait(90)  # 5 seconds of draining and 25 for what is open, at most
