"""A rolling deploy behind a load balancer: one process after another, and no call is lost.

Debian's HAProxy sends each request once: it tries neither another process nor again. People sign
in, read and change their sessions, and call an upstream that takes its time; others read event
streams, which may end, but never within an event.
"""

import csv
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import requests

from tests.conftest import AWS_ENVIRONMENT
from tests.sessions_kms.support.faults import error, running_proxy
from tests.soak.environment import environment_of
from tests.soak.fleet import Process, running_fleet
from tests.soak.ledger import ENDED_EARLY, Ledger
from tests.soak.visitor import Visitor
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.local_kms import running_kms
from tests.support.processes import free_ports, running
from tests.support.roto import running_roto
from tests.support.waiting import wait_until

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed: apt-get install haproxy"),
]

CALLERS, READERS = 6, 2
SLOW = 3.0  # seconds that an upstream takes: within them a process closes its port
CONFIGURATION = """
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 20s
frontend visitors
    bind 127.0.0.1:{port}
    default_backend gateways
frontend operators
    bind 127.0.0.1:{stats}
    stats enable
    stats uri /
backend gateways
    balance roundrobin
    option forwardfor
    option httpchk GET /readyz
    http-check expect status 200
    default-server check inter 500ms fall 1 rise 1
"""


class Slow(QuietHandler):
    """Answers after a while."""

    def do_GET(self) -> None:
        self.read_body()
        time.sleep(SLOW)
        self.respond(200, b"done", "text/plain")

    do_POST = do_GET


class Caller(Visitor):
    """A person who calls, and stays signed in."""

    def act(self) -> None:
        if not self._signed_in:
            self.sign_in()
            return
        actions = [self.read, self._modify, self._call_upstream, self._wait, self._post]
        self._chance.choice(actions)()

    def _wait(self) -> None:
        self._ask("slow call", "GET", "/gateway/slow/")

    def _post(self) -> None:
        told = self._ask("list", "GET", "/gateway/")
        if told is not None:
            found = told.json()
            origin = told.url.partition("/gateway/")[0]
            headers = {found["csrf_header"]: found["csrf_token"], "Origin": origin}
            self._ask("slow post", "POST", "/gateway/slow/", headers=headers, data=b"x")


class Reader(Visitor):
    """A person who reads events, and asks for more when they end."""

    is_over = False
    streams = 0

    def act(self) -> None:
        if not self._signed_in:
            self.sign_in()
            return
        response = self._ask("stream", "GET", "/gateway/bench/events", stream=True)
        if response is None:
            return
        self.streams += 1
        read, began = b"", time.monotonic()
        with response:
            try:
                for piece in response.iter_content(None):
                    read += piece
                    if self.is_over:
                        return
            except requests.RequestException:
                self._ledger.failed("stream", ENDED_EARLY, began)
        if not read.endswith(b"\n\n"):
            self._ledger.violation(f"a stream ended within an event: {read[-20:]!r}")


@pytest.mark.parametrize(
    ("count", "options"), [(4, ()), (2, ("--workers", "2"))], ids=["processes", "workers"]
)
def test_rolling_deploy_loses_no_call(
    count: int, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    with ExitStack() as stack:
        variables = _variables(stack, tmp_path, monkeypatch)
        fleet = stack.enter_context(running_fleet(count, variables, tmp_path, *options))
        balancer = stack.enter_context(_balanced(fleet, tmp_path))
        callers, readers = stack.enter_context(_people(balancer.url, ledger))
        for each in fleet:
            each.stop()
            wait_until(lambda: balancer.count_up() == count - 1, "the process is out of rotation")
            each.start()
            wait_until(lambda: balancer.count_up() == count, "the process is in rotation", 60)
    assert ledger.violations == []
    assert set(ledger.responses) == {"200"}
    assert min(ledger.requests[kind] for kind in ("slow call", "slow post", "modify")) > count
    assert len(callers) == CALLERS
    assert sum(each.streams for each in readers) > READERS  # some were ended, and begun again


def test_deploy_stops_at_new_processes_that_aws_rejects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    with ExitStack() as stack:
        right = _variables(stack, tmp_path, monkeypatch)
        fleet = stack.enter_context(running_fleet(2, right, tmp_path))
        role = stack.enter_context(running_proxy(right["AWS_ENDPOINT_URL_DYNAMODB"]))
        role.on("GetItem", error("AccessDeniedException"))
        missing_key = right["KMS_KEY_ARN"][:-4] + "0000"
        wrong = [
            {"SESSIONS_TABLE": "missing"},
            {"KMS_KEY_ARN": missing_key},
            {"AWS_ENDPOINT_URL_DYNAMODB": role.url},
        ]
        new = [
            stack.enter_context(running_fleet(1, right | each, _folder(tmp_path / str(number))))[0]
            for number, each in enumerate(wrong)
        ]
        balancer = stack.enter_context(_balanced([*fleet, *new], tmp_path, up=len(fleet)))
        with _people(balancer.url, ledger):
            denied = role.operations.count("GetItem")
            wait_until(lambda: role.operations.count("GetItem") > denied + 1, "it tries again", 60)
            assert [_reason(each) for each in new] == ["table", "kms", "table"]
            assert balancer.count_up() == len(fleet)
            role.heal()
            wait_until(lambda: balancer.count_up() == len(fleet) + 1, "the role is known", 15)
        assert [_reason(each) for each in new] == ["table", "kms", None]
    assert ledger.violations == []
    assert set(ledger.responses) == {"200"}
    log = (tmp_path / "0" / "gateway-0.log").read_text("utf-8")
    assert "Health check of table: it rejects this process. " in log
    assert "ResourceNotFoundException" in log


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _reason(process: Process) -> str | None:
    reason: str | None = requests.get(f"{process.url}/readyz", timeout=20).json().get("reason")
    return reason


def _variables(stack: ExitStack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in AWS_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", stack.enter_context(running_roto()))
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", stack.enter_context(running_kms()).url)
    return environment_of(stack, folder) | {
        "DRAIN_SECONDS": "5",
        "TRUSTED_PROXIES": "127.0.0.1",
        "UPSTREAM_SLOW_URL": stack.enter_context(serve_handler(Slow)),
        "UPSTREAM_SLOW_PROVIDER": "corp",
    }


class Balancer:
    """A running HAProxy."""

    def __init__(self, port: int, stats: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._stats = f"http://127.0.0.1:{stats}/;csv"

    def count_up(self) -> int:
        """Return the number of processes in rotation."""
        lines = requests.get(self._stats, timeout=10).text.removeprefix("# ").splitlines()
        rows = [row for row in csv.DictReader(lines) if row["svname"].startswith("gateway")]
        return sum(row["status"].startswith("UP") for row in rows)


@contextmanager
def _balanced(fleet: list[Process], folder: Path, *, up: int | None = None) -> Iterator[Balancer]:
    """Run a balancer; begin when all processes, or so many, are in rotation."""
    port, stats = free_ports(2)
    file = folder / "haproxy.cfg"
    servers = [f"    server gateway{each.port} 127.0.0.1:{each.port}\n" for each in fleet]
    file.write_text(CONFIGURATION.format(port=port, stats=stats) + "".join(servers), "utf-8")
    command = [str(HAPROXY), "-db", "-f", str(file)]
    with running(command, {}, folder / "haproxy.log", port):
        balancer = Balancer(port, stats)
        expected = len(fleet) if up is None else up
        wait_until(lambda: balancer.count_up() == expected, "processes are in rotation", 60)
        yield balancer


@contextmanager
def _people(url: str, ledger: Ledger) -> Iterator[tuple[list[Caller], list[Reader]]]:
    """Let people come until the block ends."""
    entry = [cast("Process", SimpleNamespace(url=url))]
    chances = [random.Random(number) for number in range(CALLERS + READERS)]  # noqa: S311
    callers = [Caller(entry, ledger, chance) for chance in chances[:CALLERS]]
    readers = [Reader(entry, ledger, chance) for chance in chances[CALLERS:]]
    over = threading.Event()
    threads = [threading.Thread(target=_visit, args=(each, over)) for each in (*callers, *readers)]
    for thread in threads:
        thread.start()
    try:
        yield callers, readers
    finally:
        over.set()
        for reader in readers:
            reader.is_over = True
        for thread in threads:
            thread.join()


def _visit(visitor: Visitor, over: threading.Event) -> None:
    while not over.wait(0.02):
        visitor.act()
    visitor.close()
