"""Workers: SIGHUP has rules read again, and no call fails; they end with their parent.

Adversary: a parent that is killed, and one that drains.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from pathlib import Path
from typing import ClassVar, cast

import psutil
import pytest
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import multiprocess

from gateway_site.server import workers
from tests.gateway_site.server.served import exchange
from tests.gateway_site.server.starting import WORKING, environment
from tests.support.processes import (
    free_port,
    lines_until,
    run_to_end,
    running,
    started,
)
from tests.support.waiting import wait_until

CALL = b"GET /gateway/notes/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
IS_READY = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
RIGHT, OTHER = ('[[rule]]\naction = "allow"\ntools = ["a"]\n', '[[rule]]\naction = "allow"\n')
WRONG = RIGHT + 'tool = ["b"]\n'
FAULT = "UPSTREAM_NOTES_POLICY_FILE: {}: Line 1: 'tool' is unknown"
IN_FORCE = "Rules in force: notes"
# As `kms-gateway serve`, but the parent finds no fault: the file becomes wrong after its check.
UNCHECKED = """
import sys
from gateway_site import server
from gateway_site.server import workers
workers.find_fault = lambda: None
if __name__ == "__main__":
    server.run(sys.argv[1:], program="serve")
"""


class Site:
    """A running gateway with one file of rules, and calls that never stop."""

    def __init__(self, folder: Path) -> None:
        self.rules, self.log = folder / "rules.toml", folder / "log"
        self.port = free_port()
        self.rules.write_text(RIGHT)
        self.environment = environment(
            folder,
            UPSTREAM_NOTES_URL="http://127.0.0.1:9",
            UPSTREAM_NOTES_PROVIDER="corp",
            UPSTREAM_NOTES_POLICY_FILE=str(self.rules),
            DRAIN_SECONDS="1",
        )
        self.outcomes: list[bytes] = []
        self.draining = 0  # answers by which a load balancer would send nothing more
        self._is_over = threading.Event()

    @contextmanager
    def serving(self, command: list[str], *options: str) -> Iterator[psutil.Process]:
        started = [*command, "--port", str(self.port), "--timeout-worker-healthcheck", "100"]
        with running([*started, *options], self.environment, self.log, self.port) as process:
            caller = threading.Thread(target=self._call_on)
            caller.start()
            parent = psutil.Process(process.pid)
            try:
                yield parent
                assert process.poll() is None
            finally:
                self._is_over.set()
                caller.join()
                left = parent.children(recursive=True)
                process.send_signal(signal.SIGTERM)
                process.wait(60)
                for each in psutil.wait_procs(left, 20)[1]:
                    each.kill()
        assert set(self.outcomes) == {b"HTTP/1.1 401 "}
        assert self.draining == 0

    def _call_on(self) -> None:
        while not self._is_over.is_set():
            try:
                self.outcomes.append(self._response(CALL)[:13])
                self.draining += b"draining" in self._response(IS_READY)
            except OSError as error:
                self.outcomes.append(repr(error).encode())

    def _response(self, request: bytes) -> bytes:
        return exchange(self.port, request)

    def count(self, line: str) -> int:
        return self.log.read_text(encoding="utf-8").count(line)

    def hang_up(self, parent: psutil.Process, text: str, *lines: str, times: int = 1) -> None:
        """Write the file, send the signal, and wait for these lines of the log."""
        before = {line: self.count(line) for line in lines}
        self.rules.write_text(text)
        parent.send_signal(signal.SIGHUP)
        wait_until(
            lambda: all(self.count(line) >= before[line] + times for line in lines), str(lines), 100
        )


def workers_of(parent: psutil.Process) -> set[int]:
    """Return the ids of the serving processes: the other children are Python's own, or ending."""
    found = set()
    for each in parent.children():
        with suppress(psutil.Error):
            if any("spawn_main" in part for part in each.cmdline()):
                found.add(each.pid)
    return found


SERVE = [sys.executable, "-m", "gateway_site", "serve"]


@pytest.mark.slow
def test_process_reads_its_rules_again_and_goes_on(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.serving(SERVE) as process:
        site.hang_up(process, WRONG, FAULT.format(site.rules))
        assert site.count(IN_FORCE) == 0
        site.hang_up(process, OTHER, IN_FORCE)


@pytest.mark.long
def test_workers_are_replaced_only_if_their_rules_have_no_fault(tmp_path: Path) -> None:
    """Each worker reports a fault, and their parent too."""
    site = Site(tmp_path)
    with site.serving(SERVE, "--workers", "2") as parent:
        wait_until(lambda: site.count("Application startup complete") == 2, "both serve", 100)
        first = workers_of(parent)
        assert len(first) == 2
        fault = FAULT.format(site.rules)
        site.hang_up(parent, WRONG, "The workers are not replaced: " + fault)
        wait_until(lambda: site.count(fault) == 3, "both have reported it")
        assert workers_of(parent) == first
        site.hang_up(parent, OTHER, IN_FORCE, times=2)
        wait_until(
            lambda: len(found := workers_of(parent)) == 2 and not found & first, "replaced", 100
        )


class FakeWorker:
    """A worker whose drain takes as long as a test says."""

    made: ClassVar[list[FakeWorker]]
    during_drain: ClassVar[Callable[[], bool]]  # returns whether the drain goes on
    pid = None

    becomes_ready: ClassVar[Iterator[bool]] = repeat(True)

    def __init__(self, *_: object) -> None:
        self.process = self
        self.made_at = time.monotonic()
        self.made.append(self)

    next_at: float | None = None
    exitcode: int | None = None

    def is_ready(self, timeout: float = 5) -> bool:
        return self.exitcode is None

    def wait_until_ready(self, seconds: float, *_: object) -> bool:
        assert seconds == 60
        return next(type(self).becomes_ready)

    def is_alive(self) -> bool:
        return type(self).during_drain()

    def start(self) -> None:
        pass

    terminate = kill = start

    def join(self, seconds: float = 0) -> None:
        pass


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> workers.Workers:
    """Return the parent of two fake workers."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(multiprocess, "Process", FakeWorker)
    monkeypatch.setattr(FakeWorker, "made", [], raising=False)
    monkeypatch.setattr(FakeWorker, "during_drain", lambda: False, raising=False)
    monkeypatch.setattr(workers, "find_fault", lambda: None)
    made = workers.Workers(Config("none", workers=2), [])
    made.init_processes()
    return made


@pytest.mark.parametrize(
    ("outcomes", "outdated"),
    [
        ([False, False, False, True, True], None),
        ([True, False, False, False, True], None),
        ([True, False, False, False, False], 1),
        ([False, False, False, False], 2),
    ],
)
def test_worker_that_is_not_ready_in_time_is_started_again_three_times(
    parent: workers.Workers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    outcomes: list[bool],
    outdated: int | None,
) -> None:
    told: list[object] = []
    monkeypatch.setattr(workers, "_signal_if_ready", lambda *given: told.append(given))
    monkeypatch.setattr(FakeWorker, "becomes_ready", iter(outcomes))
    former = list(parent.processes)
    workers.logger.addHandler(caplog.handler)
    parent.signal_queue.append(signal.SIGHUP)
    parent.handle_signals()
    kept = [each for each in parent.processes if each in former]
    workers.logger.removeHandler(caplog.handler)
    # In a set: the logger may pass its records on to pytest's handler as well.
    errors = {each.getMessage() for each in caplog.records if each.levelname == "ERROR"}
    assert len(kept) == (outdated or 0)
    assert told == [
        *[(each, signal.SIGHUP) for each in former],
        *[(each, signal.SIGUSR1) for each in kept],
    ]
    expected = f"The workers are not replaced: {outdated} of 2 have the former settings"
    assert [each[: len(expected)] for each in errors] == ([expected] if outdated else [])
    assert next(FakeWorker.becomes_ready, None) is None


def test_fault_of_the_settings_leaves_all_workers(
    parent: workers.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "find_fault", lambda: "X is wrong")
    former = list(parent.processes)
    parent.signal_queue.append(signal.SIGHUP)
    parent.handle_signals()
    assert (parent.processes, len(FakeWorker.made)) == (former, 2)


def test_starting_worker_is_not_killed_while_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(workers, "monotonic", lambda: now[0])
    worker = workers.Worker(Config("none"), [])

    class Running:
        is_alive = staticmethod(lambda: True)

    worker.process = Running()  # type: ignore[assignment]  # nothing is started
    assert worker.is_alive(timeout=0.01)
    now[0] = workers.READY_TIME
    assert not worker.is_alive(timeout=0.01), "it has hung"


def test_worker_that_ends_is_replaced_once_the_settings_have_no_fault(
    parent: workers.Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is faulty as it ends. The others serve on, and nothing is started in a loop."""
    now, faults, checks = [1000.0], ["X is wrong", "X is wrong", None], list[float]()

    def find_fault() -> str | None:
        checks.append(now[0])
        return faults.pop(0)

    monkeypatch.setattr(workers, "monotonic", lambda: now[0])
    monkeypatch.setattr(workers, "find_fault", find_fault)
    monkeypatch.setattr(FakeWorker, "is_alive", lambda self, **_: self.is_ready())
    monkeypatch.setattr(workers.logger, "propagate", True)
    ended, other = FakeWorker.made
    ended.made_at, ended.exitcode = 990.0, STARTUP_FAILURE
    for _ in range(100):
        parent.keep_subprocess_alive()
        now[0] += 0.5
    assert checks == [1005.0, 1020.0, 1035.0]
    assert not parent.should_exit.is_set()
    serving: list[object] = [FakeWorker.made[2], other]
    assert parent.processes == serving
    assert caplog.text.count("A worker that has ended is not replaced: X is wrong") == 2


def test_worker_that_is_replaced_by_one_with_other_settings_is_an_error_until_sighup(
    parent: workers.Workers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("HSTS_SECONDS = 1")
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    monkeypatch.setattr(FakeWorker, "is_alive", lambda self, **_: self.is_ready())
    monkeypatch.setattr(workers.Workers, "restart_all", lambda self: None)
    monkeypatch.setattr(workers, "RETRY_TIME", 0.0)
    monkeypatch.setattr(workers.logger, "propagate", True)
    expected = "up to 1 of 2 have the former settings. Send SIGHUP."

    def replace_ended() -> int:
        caplog.clear()
        cast("FakeWorker", parent.processes[0]).exitcode = -9
        parent.keep_subprocess_alive()
        parent.keep_subprocess_alive()
        return sum(expected in each.getMessage() for each in caplog.records)

    parent.signal_queue.append(signal.SIGHUP)
    parent.handle_signals()
    assert replace_ended() == 0
    file.write_text("HSTS_SECONDS = 2")
    assert replace_ended() == 1
    parent.signal_queue.append(signal.SIGHUP)
    parent.handle_signals()
    assert replace_ended() == 0


def test_parent_ends_if_no_worker_can_start(
    parent: workers.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWorker, "is_alive", lambda self, **_: self.is_ready())
    for each in FakeWorker.made:
        each.exitcode = STARTUP_FAILURE
    parent.keep_subprocess_alive()
    assert parent.should_exit.is_set()


@pytest.mark.long
def test_worker_that_is_killed_while_the_file_is_faulty_leaves_the_other(tmp_path: Path) -> None:
    site, file = make_site_with_file(tmp_path)
    with site.serving(SERVE, "--workers", "2") as parent:
        wait_until(lambda: site.count("Application startup complete") == 2, "both serve", 100)
        killed, other = workers_of(parent)
        file.write_text(FAULTY)
        psutil.Process(killed).kill()
        told = "A worker that has ended is not replaced: UPSTREAM_ONE_MAX_BODY must be"
        wait_until(lambda: site.count(told) > 0, "told", 100)
        assert workers_of(parent) == {other}
        assert site._response(CALL)[:13] == b"HTTP/1.1 401 "
        file.write_text(TWO)
        wait_until(lambda: site.count("Application startup complete") == 3, "replaced", 100)
        assert site.count("Traceback") == 0
        site.outcomes.clear()  # The killed worker's own connections broke.
        wait_until(lambda: len(site.outcomes) > 0, "another call")


def test_signal_to_end_during_a_reload_ends_the_reload(
    parent: workers.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker may drain for 30 seconds, and orchestrators kill the parent after 45."""
    checks: list[None] = []
    monkeypatch.setattr(workers, "find_fault", lambda: checks.append(None))
    parent.signal_queue += [signal.SIGHUP] * 3
    parent.handle_signals()
    assert (len(checks), len(FakeWorker.made)) == (1, 4), "both are replaced, once"

    def get_sigterm() -> bool:
        parent.signal_queue.append(signal.SIGTERM)
        return True

    monkeypatch.setattr(FakeWorker, "during_drain", get_sigterm)
    parent.signal_queue.append(signal.SIGHUP)
    parent.handle_signals()
    assert (len(checks), len(FakeWorker.made)) == (2, 5), "the second one is not replaced"
    parent.signal_queue.insert(0, signal.SIGHUP)
    parent.handle_signals()
    assert len(checks) == 2
    assert parent.should_exit.wait(0)


@pytest.mark.long
def test_file_that_becomes_wrong_after_the_check_leaves_all_workers(tmp_path: Path) -> None:
    site = Site(tmp_path)
    program = tmp_path / "serve.py"
    program.write_text(UNCHECKED)
    with site.serving([sys.executable, str(program)], "--workers", "2") as parent:
        wait_until(lambda: site.count("Application startup complete") == 2, "both serve", 100)
        first = workers_of(parent)
        site.hang_up(parent, WRONG, "2 of 2 have the former settings")
        assert workers_of(parent) == first
        site.hang_up(parent, OTHER, IN_FORCE, times=2)


UPSTREAM = """
UPSTREAM_{0}_URL = "http://127.0.0.1:9"
UPSTREAM_{0}_PROVIDER = "corp"
UPSTREAM_{0}_CLIENTS = true
"""


def make_site_with_file(folder: Path) -> tuple[Site, Path]:
    """Return a site that has its upstreams in a file, with one of them."""
    site, file = Site(folder), folder / "gateway.toml"
    file.write_text(ONE)
    address = f"http://127.0.0.1:{site.port}"
    site.environment |= {"GATEWAY_CONFIG": str(file), "PUBLIC_URL": address}
    return site, file


ONE, TWO = UPSTREAM.format("ONE"), UPSTREAM.format("ONE") + UPSTREAM.format("TWO")
FAULTY = ONE + "UPSTREAM_ONE_MAX_BODY = 1.5"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_workers_agree_after_twenty_reloads_of_changing_configuration_files(tmp_path: Path) -> None:
    """The file alternates between two valid states and a faulty one, while calls never stop."""
    site, file = make_site_with_file(tmp_path)

    def statuses(upstream: str) -> set[bytes]:
        """Return the responses about an upstream, on enough connections to reach each worker."""
        path = f"/.well-known/oauth-protected-resource/gateway/{upstream}"
        request = CALL.replace(b"/gateway/notes/x", path.encode())
        return {site._response(request)[:13] for _ in range(30)}

    found, missing = {b"HTTP/1.1 200 "}, {b"HTTP/1.1 404 "}
    with site.serving(SERVE, "--workers", "2") as parent:
        wait_until(lambda: site.count("Application startup complete") == 2, "both serve", 100)
        assert (statuses("one"), statuses("two")) == (found, missing)
        for number in range(20):
            file.write_text((TWO, FAULTY, ONE)[number % 3])
            parent.send_signal(signal.SIGHUP)
            time.sleep(0.5)  # so that signals come before, during and after a reload
        told = "The workers are not replaced: UPSTREAM_ONE_MAX_BODY must be"
        wait_until(lambda: site.count(told) > 0, "told of the last state", 100)
        file.write_text(TWO)
        parent.send_signal(signal.SIGHUP)
        wait_until(lambda: statuses("two") == found, "the new upstream in both", 200)
        assert statuses("one") == found
        wait_until(lambda: len(workers_of(parent)) == 2, "the last replaced worker has ended", 100)
        environments = [psutil.Process(each).environ() for each in workers_of(parent)]
        assert len(environments) == 2
        names = {name for each in environments for name in each}
        assert not any(each.startswith(("UPSTREAM_ONE", "UPSTREAM_T")) for each in names)


@pytest.mark.slow
def test_fault_at_the_start_ends_the_parent_of_workers_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.rules.write_text(WRONG)
    done = run_to_end([*SERVE, "--workers", "2", "--port", str(site.port)], site.environment)
    assert done.returncode == STARTUP_FAILURE
    assert "The workers are not started: " + FAULT.format(site.rules) in done.stderr
    assert "Traceback" not in done.stderr


OWN_SETTINGS = "from gateway_site.settings import *; MIDDLEWARE = [*MIDDLEWARE, 'denying.all']"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({}, None),
        ({"UPSTREAM_NOTES_POLICY_FILE": "/none"}, "UPSTREAM_NOTES_POLICY_FILE: /none: file not"),
        ({"DRAIN_SECONDS": "secret-value"}, "DRAIN_SECONDS must be"),
        ({"DJANGO_SETTINGS_MODULE": "none"}, "ModuleNotFoundError: No module named 'none'"),
        ({"DJANGO_SETTINGS_MODULE": "own_settings"}, "MIDDLEWARE does not see the calls"),
    ],
)
def test_settings_are_checked_as_a_new_worker_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], fault: str | None
) -> None:
    (tmp_path / "own_settings.py").write_text(OWN_SETTINGS)
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in (Site(tmp_path).environment | variables).items():
        monkeypatch.setenv(name, value)
    if "DJANGO_SETTINGS_MODULE" not in variables:
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    found = workers.find_fault()
    assert found is None if fault is None else (found or "").startswith(fault)
    assert "secret-value" not in (found or "")


def test_check_that_does_not_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TIME_LIMIT", 0.0)
    assert workers.find_fault() == "the settings could not be checked (TimeoutExpired)."


@pytest.mark.slow
def test_check_of_the_settings_names_the_faults_of_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Site(tmp_path).environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UPSTREAM_NOTES_POLICY_FILE", "/none")
    monkeypatch.setenv("UPSTREAM_NOTES_TOOLS_PINNED", "/nor-this")
    found = workers.find_fault() or ""
    assert "POLICY_FILE: /none: " in found
    assert "TOOLS_PINNED: /nor-this: " in found


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """They neither drain, which takes an hour here, nor leave the port open."""
    site = Site(tmp_path)
    command = [*SERVE, "--port", str(site.port), "--workers", "2"]
    variables = site.environment | {"DRAIN_SECONDS": "3600"}
    with running(command, variables, site.log, site.port) as process:
        wait_until(lambda: site.count("Application startup complete") == 2, "both serve", 100)
        left = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert psutil.wait_procs(left, 60)[1] == []
        assert is_refusing(site.port)
    assert site.count("The parent process has ended") == 2
    assert site.count("Finished server process") == 2


ORPHAN = """
import multiprocessing, os, signal, time
from gateway_site.server import workers
def serve():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    workers.end_with_parent(0)
    print(os.getpid(), flush=True)
    time.sleep(3600)
if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=serve).start()
    time.sleep(3600)
"""


@pytest.mark.slow
def test_worker_that_hangs_is_killed_when_its_parent_has_ended(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(ORPHAN)
    variables = Site(tmp_path).environment
    with started([sys.executable, str(program)], variables, stdout=subprocess.PIPE) as parent:
        [line] = lines_until(parent)
        worker = psutil.Process(int(line))
        parent.kill()
        assert psutil.wait_procs([worker], 60)[1] == []


def is_refusing(port: int) -> bool:
    """Return True if nobody listens; a queue that is full does not answer."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        pass
    return False


@pytest.mark.long
def test_draining_parent_leaves_the_port_to_its_workers(tmp_path: Path) -> None:
    """Once they have closed it, nobody would accept a connection: it has to be refused."""
    site = Site(tmp_path)
    command = [*SERVE, "--port", str(site.port), "--workers", "2"]
    with running(command, site.environment, site.log, site.port) as process:
        wait_until(lambda: site.count("Application startup complete") == 2, "both serve", 100)
        with socket.create_connection(("127.0.0.1", site.port)) as client:
            client.sendall(WORKING)  # it keeps its worker for 25 seconds
            site._response(CALL)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_refusing(site.port), "the port is closed")
            client.setblocking(False)
            with pytest.raises(BlockingIOError):  # the worker still serves it
                client.recv(1)
        process.wait(60)
