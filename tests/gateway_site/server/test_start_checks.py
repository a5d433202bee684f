"""What stops a server, or is logged, at its start: each in one sentence with a remedy."""

import logging
import os
import re
import socket
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site.health import dependencies
from gateway_site.health.probes import Outcome, SharedProbe
from gateway_site.server import start_checks
from tests.support.processes import free_port, run_to_end


@pytest.mark.slow
def test_missing_variables_are_named_together_and_once() -> None:
    env = {"PATH": os.environ["PATH"], "PUBLIC_URL": "https://gateway.example.com"}
    serve = [sys.executable, "-m", "gateway_site", "serve", "--port", str(free_port())]
    done = run_to_end(serve, env)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "ImproperlyConfigured: These variables are missing: DATABASE_URL, DJANGO_SECRET_KEY,"
        " KMS_KEY_ARN, SESSIONS_TABLE. "
    )
    assert done.stderr.count("\n") == 1
    check = run_to_end([sys.executable, "-m", "gateway_site", "check"], env)
    assert "SESSIONS_KMS" not in check.stderr
    assert check.stderr.count("KMS_KEY_ARN") == check.stderr.count("SESSIONS_TABLE") == 1


@pytest.mark.slow
def test_misspelled_option_gets_a_suggestion_and_a_usage_without_the_application() -> None:
    serve = [sys.executable, "-m", "gateway_site", "serve"]
    done = run_to_end([*serve, "--prot", "1"], {"PATH": os.environ["PATH"]})
    assert done.returncode == 2
    assert re.search(r"No such option:? '?--prot'?.*--port", done.stderr)
    assert re.search(r"serve \[OPTIONS\] *$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("way", ["options", "equals", "variable"])
def test_port_that_is_taken_is_named(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        options = {"options": ["--port", port], "equals": [f"--port={port}"]}.get(way, [])
        variables = {"UVICORN_PORT": port} if way == "variable" else {}
        with pytest.raises(ImproperlyConfigured, match=f"port {port} of 127.0.0.1: Address"):
            start_checks.require_port(variables, options)
    start_checks.require_port(variables, options)


@pytest.mark.parametrize(
    "options",
    [["--uds", "gateway.sock"], ["--fd", "3"], ["--port", "0"], ["--port", "x"], ["--workers"]],
)
def test_what_has_no_port_or_is_invalid_is_left_to_uvicorn(options: list[str]) -> None:
    start_checks.require_port({"UVICORN_PORT": str(free_port())}, options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "is no port: use one from 1 to 65535"),
        (["--port", "-5"], "is no port: use one from 1 to 65535"),
        (["--uds", "/nowhere/gateway.sock"], "in no folder that exists"),
        (["--port", "20000", "--host", "203.0.113.9"], "Choose an address of this machine"),
    ],
)
def test_address_that_no_server_can_have_is_one_sentence(options: list[str], words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        start_checks.require_port({}, options)


def test_missing_migrations_are_logged_once_with_the_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dependencies, "_missing_migrations", lambda: True)
    probe = SharedProbe("migrations", dependencies.MigrationsProbe(), max_age=0.0)
    for _ in range(2):
        assert probe.outcome().result() is Outcome.FAILED
    probe.close()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "manage.py migrate`" in record.message
