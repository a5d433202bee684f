"""A log that nobody reads: what is written meanwhile, what is missing, and who waits.

Adversaries: a log reader that stops reading; a full disk; the end of a process.
"""

import errno
import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway_site.server import log_queue
from gateway_site.server.log_queue import LogQueue
from tests.gateway_site.server.served import exchange
from tests.gateway_site.server.starting import production_environment
from tests.support.processes import free_port, is_listening, run_to_end, running, started
from tests.support.waiting import wait_until

# `kms-gateway serve`, with a queue that a test can fill.
SERVE = """
import sys
import time
from gateway_site import server
from gateway_site.server import log_queue
log_queue.RECORDS_MAX = 50
if __name__ == "__main__":
    server.run(sys.argv[1:], program="serve")
"""
REQUESTS = 200
PAGE = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Pipe:
    """A pipe of one page, with what was read from it."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux's; a larger pipe needs more requests
            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.out, False)
        self._read = b""

    def read(self) -> bytes:
        """Read what is there; return everything that was ever read."""
        with suppress(BlockingIOError):
            while more := os.read(self.out, 65536):
                self._read += more
        return self._read

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def queue(pipe: Pipe) -> LogQueue:
    return LogQueue(pipe.into, logging.Formatter("%(message)s"))


def fill(pipe: Pipe) -> int:
    """Fill the pipe as its reader's own backlog does; return the number of bytes."""
    os.set_blocking(pipe.into, False)
    size = 0
    with suppress(BlockingIOError):
        while True:
            size += os.write(pipe.into, b"." * 1024)
    os.set_blocking(pipe.into, True)
    return size


def missing_in(text: bytes) -> int:
    return sum(map(int, re.findall(rb"(\d+) records are missing from the log", text)))


@pytest.mark.parametrize(("record", "kept"), [(b"x\n", 10_000), (b"x" * 1023 + b"\n", 8)])
def test_what_does_not_fit_is_counted_and_the_log_says_so(
    queue: LogQueue, pipe: Pipe, record: bytes, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (log_queue.RECORDS_MAX, log_queue.BYTES_MAX) == (10_000, 8 * 2**20)
    if kept == 8:
        monkeypatch.setattr(log_queue, "BYTES_MAX", 8 * 1024)
    backlog = fill(pipe)
    queue.put(b"first\n")
    wait_until(lambda: queue._is_writing, "the thread waits for the reader")
    for _ in range(kept + 7):
        queue.put(record)
    wait_until(lambda: missing_in(pipe.read()) == 7, "the log says how many are missing")
    size = backlog + len(b"first\n") + kept * len(record)
    wait_until(lambda: len(pipe.read()) > size, "the rest is written")
    queue.put(b"last\n")
    wait_until(lambda: pipe.read().endswith(b"last\n"), "the log goes on")
    assert missing_in(pipe.read()) == 7


def test_records_that_follow_soon_are_written_together(
    queue: LogQueue, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not if they fill a batch, and not at the end of a process."""
    write, writes, delays = os.write, list[bytes](), list[float]()
    full = b"x" * (log_queue.BATCH_MAX - 1) + b"\n"

    def record(descriptor: int, data: memoryview) -> int:
        if descriptor == pipe.into:
            writes.append(bytes(data))
        return write(descriptor, data)

    def put_another(seconds: float) -> None:
        delays.append(seconds)
        queue.put(b"two\n")

    monkeypatch.setattr(os, "write", record)
    monkeypatch.setattr(log_queue, "sleep", put_another)
    queue.put(b"one\n")
    wait_until(lambda: pipe.read() == b"one\ntwo\n", "both are written")
    queue.put(full)
    wait_until(lambda: pipe.read().endswith(full), "it is written")
    queue.end_by(time.monotonic() + 60)
    queue.put(b"last\n")
    assert (writes, delays) == ([b"one\ntwo\n", full, b"last\n"], [0.02])


def test_line_that_is_written_in_parts_is_one_record(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise some parts could be dropped, or follow the line of another process."""
    monkeypatch.setattr(log_queue, "RECORDS_MAX", 1)
    with open(pipe.into, "w", closefd=False) as replaced:
        stream = log_queue.QueuedStream(replaced, logging.Formatter("%(message)s"))
    backlog = fill(pipe)
    stream.queue.put(b"first\n")
    wait_until(lambda: stream.queue._is_writing, "the thread waits for the reader")
    for _ in range(3):
        print("a", "line", file=stream)
    wait_until(lambda: missing_in(pipe.read()) == 2, "the others are missing")
    wait_until(lambda: b"a line\n" in pipe.read()[backlog:], "the line is whole")


def test_reader_that_is_gone_and_a_full_disk_are_counted_too(
    queue: LogQueue, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = os.write, [errno.EPIPE, errno.ENOSPC]

    def fail_twice(descriptor: int, data: bytes) -> int:
        if failures and descriptor == pipe.into:
            if failures[0] == errno.ENOSPC and data[:3] == b"two":
                return write(descriptor, b"two")  # part of a line
            raise OSError(failures.pop(0), "")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", fail_twice)
    for record in (b"one\n", b"two\n"):
        queue.put(record)
        wait_until(lambda: not (queue._is_writing or queue._records), "it has failed")
    queue.put(b"three\n")
    wait_until(lambda: pipe.read().endswith(b"enough.\n"), "it is written")
    assert pipe.read().splitlines()[:-1] == [b"two", b"three"]
    assert missing_in(pipe.read()) == 2


def test_descriptor_that_another_program_made_non_blocking_loses_nothing(
    queue: LogQueue, pipe: Pipe
) -> None:
    size = fill(pipe)
    os.set_blocking(pipe.into, False)
    queue.put(b"one\n")
    wait_until(lambda: queue._is_writing, "the thread waits")
    queue.put(b"two\n")
    wait_until(lambda: pipe.read()[size:] == b"one\ntwo\n", "both are written")


def test_end_of_a_process_waits_for_the_reader_but_no_longer_than_its_time(
    queue: LogQueue, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(log_queue, "monotonic", lambda: now[0])
    queue.end_by(1000 + 3600)
    queue.put(b"written\n")
    assert pipe.read() == b"written\n"
    fill(pipe)
    now[0] += 3600
    queue.put(b"not waited for\n")
    wait_until(lambda: pipe.read().endswith(b"for\n"), "it is written later")


def test_finalizer_may_write_while_a_record_is_queued(queue: LogQueue, pipe: Pipe) -> None:
    """The garbage collector runs in the midst of it, in the same thread."""
    with queue._changed:
        queue.put(b"within\n")
    wait_until(lambda: pipe.read() == b"within\n", "it is written")


@pytest.mark.slow
def test_forked_child_has_its_own_thread_and_nothing_of_its_parent(
    queue: LogQueue, pipe: Pipe
) -> None:
    """Its records are written before it ends, which no function of `atexit` notices."""
    size = fill(pipe)
    queue.put(b"parent\n")
    wait_until(lambda: queue._is_writing, "the thread waits")
    child = os.fork()
    if child == 0:
        queue.put(b"child\n")
        os._exit(0)
    wait_until(lambda: pipe.read().count(b"\n") == 2, "both have written")
    os.waitpid(child, 0)
    assert sorted(pipe.read()[size:].splitlines()) == [b"child", b"parent"]


DESTRUCTOR = """
import sys
from gateway_site.server import log_queue
class Cycle:
    def __init__(self):
        self.cycle, self.stream = self, sys.stderr
    def __del__(self):
        self.stream.write("x" * 10_000 + "end" + chr(10))
log_queue.start()
Cycle()
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_read", [True, False])
def test_end_of_the_interpreter_writes_what_destructors_write_and_waits_a_second(
    pipe: Pipe, *, is_read: bool
) -> None:
    """The queue's thread no longer runs then."""
    fill(pipe)
    with subprocess.Popen([sys.executable, "-c", DESTRUCTOR], stderr=pipe.into) as process:
        if is_read:
            wait_until(lambda: pipe.read().endswith(b"end\n"), "it is written")
        assert process.wait(60) == 0


def access_lines(text: bytes) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
    return [each for each in found if each["event"] == "request"]


def log_text(text: bytes) -> int:
    """Return how many records a whole log has, with those that it says are missing."""
    return missing_in(text) + len(access_lines(text))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), pytest.param(("--workers", "2"), marks=pytest.mark.long)])
def test_requests_health_and_end_do_not_wait_for_the_reader_of_the_log(
    tmp_path: Path, pipe: Pipe, workers: tuple[str, ...]
) -> None:
    port, program = free_port(), tmp_path / "serve.py"
    program.write_text(SERVE)
    command = [sys.executable, str(program), "--port", str(port), *workers]
    env = production_environment(tmp_path, DRAIN_SECONDS="1")

    def ask(request: bytes) -> bytes:
        return exchange(port, request)[:13]

    with started(command, env, stdout=pipe.into, stderr=pipe.into) as process:
        wait_until(lambda: bool(pipe.read()) and is_listening(port), "it serves", 100)
        for _ in range(REQUESTS):
            assert ask(PAGE) == b"HTTP/1.1 404 "
        assert ask(PAGE.replace(b"/nothing", b"/livez")) == b"HTTP/1.1 200 "
        wait_until(lambda: log_text(pipe.read()) == REQUESTS, "the log accounts for every request")
        assert len(access_lines(pipe.read())) < REQUESTS
        for _ in range(REQUESTS):
            ask(PAGE)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert not psutil.wait_procs(children, 60)[1]


@pytest.mark.slow
def test_end_of_a_process_loses_nothing_that_is_read(tmp_path: Path) -> None:
    """Also of a process that cannot start."""
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "gateway_site", "serve", "--port", str(port)]
    with running(command, production_environment(tmp_path), log, port) as process:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert "Finished server process" in log.read_text(encoding="utf-8").splitlines()[-1]
    done = run_to_end(command, production_environment(tmp_path, DATABASE_URL=""))
    assert "cannot start" in done.stderr
