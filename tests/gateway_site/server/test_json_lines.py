"""With LOG_FORMAT=json the server writes JSON only: from its start to its end, and if it fails."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.gateway_site.server.starting import production_environment
from tests.support.processes import free_port, module, run_to_end, running, started
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def parse_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("-m gateway_site serve --port {port}", id="serve"),
        pytest.param(
            "-m gateway_site serve --port {port} --workers 2",
            id="serve with workers",
            marks=pytest.mark.long,
        ),
        # What a local run starts.
        pytest.param("manage.py runserver {port} --noreload", id="runserver"),
    ],
)
def test_every_line_is_an_object_from_start_to_end(tmp_path: Path, command: str) -> None:
    port, log = free_port(), tmp_path / "log"
    serve = [sys.executable, *command.format(port=port).split()]
    env = production_environment(tmp_path)
    with running(serve, env, log, port) as process:
        page = requests.get(f"http://127.0.0.1:{port}/nothing?code=secret", timeout=60)
        wait_until(lambda: '"request"' in log.read_text(encoding="utf-8"), "it logs the request")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    lines = parse_lines(log.read_text(encoding="utf-8"))
    [access] = [line for line in lines if line["event"] == "request"]
    assert access["request_id"] == page.headers["X-Request-ID"]
    assert access["status"] == page.status_code
    assert "secret" not in log.read_text(encoding="utf-8")
    assert sum(line["event"] == "server" for line in lines) >= 4


@pytest.mark.parametrize("workers", [[], pytest.param(["--workers", "2"], marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"DATABASE_URL": ""}, id="no database"),
        pytest.param({"SESSIONS_IDLE_TIMEOUT": "a\nb"}, id="line break in a variable"),
    ],
)
def test_failed_start_is_one_object(
    tmp_path: Path, broken: dict[str, str], workers: list[str]
) -> None:
    serve = module("gateway_site", "serve", "--port", str(free_port()), *workers)
    env = production_environment(tmp_path, **broken)
    if workers and "DATABASE_URL" in broken:
        # Only a worker notices: it is started anew until the supervisor is told to end.
        log = tmp_path / "log"
        with log.open("ab") as out, started(serve, env, stdout=out, stderr=out) as process:
            wait_until(lambda: "cannot start" in log.read_text(encoding="utf-8"), "it says why")
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        lines = parse_lines(log.read_text(encoding="utf-8"))
    else:
        done = run_to_end(serve, env)
        assert done.returncode != 0
        lines = parse_lines(done.stdout + done.stderr)
    failures = [line for line in lines if line["level"] == "CRITICAL"]
    assert failures
    assert {line["event"] for line in failures} == {"server"}
    [name] = broken
    assert all(name in line["message"] for line in failures)
    assert "Traceback" not in str(failures)
