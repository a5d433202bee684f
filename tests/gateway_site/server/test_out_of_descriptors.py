"""A process that has no descriptor left, by a leak or a limit that is too low."""

import asyncio
import errno
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway_site.edge.descriptors import ACCEPT_FAILED, WARNING_INTERVAL, pause_without_descriptors
from tests.gateway_site.server.served import MovedLoop, advance, on_moved_clock, read_all
from tests.gateway_site.server.starting import DESCRIPTORS, HEALTH, Started, start
from tests.support.processes import free_port
from tests.support.waiting import wait_until

BACKLOG = 64
SECONDS = 10
IN_USE = 3  # the standard streams: a limit of so many lets nothing be opened
COOKIE = b"Cookie: gateway_sessionid=" + b"a" * 32 + b"\r\n"
LOGIN = b"/accounts/login/"
VARIABLES = {
    "KMS_KEY_ARN": "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000",
    "SESSIONS_TABLE": "sessions",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AUTHORIZATION_ISSUER": "http://127.0.0.1",
}


def request(path: bytes, *fields: bytes) -> bytes:
    head = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%b\r\n"
    return head % (path, b"".join(fields))


@contextmanager
def without_descriptors(started: Started) -> Iterator[None]:
    """Let a process open nothing more."""
    pid = started.process.pid
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (IN_USE, DESCRIPTORS))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def log(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8")


def count_accepted(started: Started) -> int:
    """Return how many connections a process has accepted."""
    there = started.process.net_connections("tcp")
    return sum(bool(each.raddr) and each.laddr.port == started.port for each in there)


@pytest.mark.slow
def test_each_request_gets_a_503_in_its_format_until_descriptors_are_free(
    tmp_path: Path,
) -> None:
    """The process has answered nothing before: whatever is opened at first use is not open."""
    asked = {
        request(LOGIN): b"content-security-policy: ",  # It went through the middleware.
        request(b"/sessions/", COOKIE): b"<h1>Back in a moment</h1>",
        request(b"/nothing"): b"<h1>Back in a moment</h1>",
        request(b"/gateway/echo/x", COOKIE): b'"code": "service_unavailable"',
        request(b"/.well-known/oauth-authorization-server"): b'"temporarily_unavailable"',
    }
    endpoint = f"http://127.0.0.1:{free_port()}"
    with start(tmp_path, AWS_ENDPOINT_URL=endpoint, **VARIABLES) as started:
        clients = [started.connect() for _ in range(len(asked) + 1)]
        wait_until(lambda: count_accepted(started) == len(clients), "all are accepted")
        with without_descriptors(started):
            for client, (sent, expected) in zip(clients, asked.items(), strict=False):
                client.sendall(sent)
                got = read_all(client)
                assert got.startswith(b"HTTP/1.1 503 "), (sent, got)
                assert b"\r\nretry-after: 5\r\n" in got.lower()
                assert b"\r\nset-cookie:" not in got.lower()
                assert expected in got
            clients[-1].sendall(HEALTH)
            assert read_all(clients[-1]).startswith(b"HTTP/1.1 200 ")
            waiting = started.connect(request(LOGIN))
            wait_until(lambda: "Cannot accept connections" in log(tmp_path), "the log has a line")
        assert read_all(waiting).startswith(b"HTTP/1.1 200 ")
        assert "no file descriptor was left" in log(tmp_path)
        assert ACCEPT_FAILED not in log(tmp_path)
        assert "Traceback" not in log(tmp_path)


@pytest.mark.long
def test_process_that_cannot_accept_pauses_and_continues(tmp_path: Path) -> None:
    """`test_accepting_is_tried_once_a_second` is its short form."""
    with start(tmp_path) as started:
        assert read_all(started.connect(HEALTH)).startswith(b"HTTP/1.1 200 ")
        with without_descriptors(started):
            waiting = [started.connect(HEALTH) for _ in range(8)]
            before = sum(started.process.cpu_times()[:2])
            time.sleep(5)
            assert sum(started.process.cpu_times()[:2]) - before < 1
            assert log(tmp_path).count("Cannot accept connections") == 1
            assert ACCEPT_FAILED not in log(tmp_path)
        assert all(read_all(client).startswith(b"HTTP/1.1 200 ") for client in waiting)


class Listener(socket.socket):
    """A listening socket whose connections cannot be accepted for as long as a test says."""

    is_exhausted = True
    attempts = 0

    def accept(self) -> tuple[socket.socket, object]:
        if not self.is_exhausted:
            return super().accept()
        self.attempts += 1
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovedLoop)
        loop.moved += 0.001  # It takes time: asyncio's retries are due one after the other.
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def listen(accepted: list[object]) -> tuple[asyncio.Server, Listener]:
    """Serve on such a socket, with the loop prepared as the product's server prepares it."""
    loop = asyncio.get_running_loop()
    pause_without_descriptors(loop)
    listener = Listener()
    listener.bind(("127.0.0.1", 0))

    def accept() -> asyncio.Protocol:
        accepted.append(listener)
        return asyncio.Protocol()

    return await loop.create_server(accept, sock=listener, backlog=BACKLOG), listener


@on_moved_clock
async def test_accepting_is_tried_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    accepted: list[object] = []
    server, listener = await listen(accepted)
    async with server:
        with socket.create_connection(listener.getsockname()):
            await advance(0)
            at_once = listener.attempts  # as many as asyncio makes of one event
            assert 0 < at_once <= BACKLOG + 1
            for _ in range(20 * SECONDS):
                await advance(0.05)
            assert SECONDS / 2 < listener.attempts / at_once < SECONDS + 2
            assert len(caplog.records) == 1
            listener.is_exhausted = False
            await advance(1)
            assert len(accepted) == 1
    assert len(caplog.records) == 1


@on_moved_clock
async def test_each_listening_socket_is_tried_by_itself() -> None:
    accepted: list[object] = []
    served = [await listen(accepted) for _ in range(2)]
    clients = [socket.create_connection(listener.getsockname()) for _, listener in served]
    await advance(0)
    for _, listener in served:
        listener.is_exhausted = False
    await advance(1)
    assert set(accepted) == {listener for _, listener in served}
    for client in clients:
        client.close()
    for server, _ in served:
        server.close()


@on_moved_clock
async def test_socket_closed_within_a_pause_is_not_tried(caplog: pytest.LogCaptureFixture) -> None:
    server, listener = await listen([])
    with socket.create_connection(listener.getsockname()):
        await advance(0)
        server.close()
        await advance(1)
    assert len(caplog.records) == 1


def test_line_is_limited_to_one_a_minute_and_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = MovedLoop()
    try:
        pause_without_descriptors(loop)
        for _ in range(3):
            for _ in range(1000):
                loop.call_exception_handler({"message": ACCEPT_FAILED, "exception": OSError("it")})
            loop.moved += WARNING_INTERVAL - 1
        loop.call_exception_handler({"message": "another"})
    finally:
        loop.close()
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.count("Cannot accept connections") for each in told] == [1, 1, 0]
    assert told[-1].startswith("another")
