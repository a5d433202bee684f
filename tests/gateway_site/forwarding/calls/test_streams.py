"""Streams through a running gateway: bounded memory, back-pressure, disconnects."""

import asyncio
import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Iterator

import pytest
import requests

from tests.gateway_site.support.gateways import Gateway
from tests.support.waiting import wait_until

MIB = 1024 * 1024
AT_ONCE = 16  # that are asked for: as many as find a thread without waiting


def open_stream(gateway: Gateway, path: str, *, receive_buffer: int = 0) -> socket.socket:
    """Send a signed-in GET and return the connection, nothing of the response read."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", gateway.port))
    connection.sendall(
        f"GET /gateway/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Cookie: gateway_sessionid={gateway.keys[3]}\r\n\r\n".encode()
    )
    return connection


def test_events_pass_one_by_one(gateway: Gateway) -> None:
    with (
        gateway.client() as client,
        client.get(
            f"{gateway.url}/gateway/echo/events?count=2", stream=True, timeout=10
        ) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        lines = response.iter_lines(chunk_size=1)
        assert [next(lines) for _ in range(5)] == [
            b"id: 1", b"data: event 1", b"", b"id: 2", b"data: event 2",
        ]  # fmt: skip


def test_last_event_id_is_forwarded(gateway: Gateway) -> None:
    with (
        gateway.client() as client,
        client.get(
            f"{gateway.url}/gateway/echo/events",
            headers={"Last-Event-ID": "41"},
            stream=True,
            timeout=10,
        ) as response,
    ):
        assert next(response.iter_lines(chunk_size=1)) == b"id: 42"


@pytest.mark.slow
def test_event_stream_may_be_silent_for_longer_than_an_response(gateway: Gateway) -> None:
    """The upstream allows 1 s of silence to a response, and 3 s to a stream of events."""
    with open_stream(gateway, "hasty/events") as connection:
        connection.settimeout(2)
        while b"event 1\n\n" not in connection.recv(65536):
            pass
        with pytest.raises(TimeoutError):
            connection.recv(65536)
        connection.settimeout(10)
        while piece := connection.recv(65536):
            assert b"0\r\n\r\n" not in piece


@pytest.mark.parametrize(
    ("path", "counter"),
    [("events", "open streams left"), ("hang", "hanging left")],
    ids=["in the response", "before it"],
)
def test_disconnected_client_ends_the_call_of_the_upstream(
    gateway: Gateway, path: str, counter: str
) -> None:
    with open_stream(gateway, f"echo/{path}?case=left"):
        wait_until(lambda: gateway.state().get(counter, 0) == 1, "the upstream is called")
    wait_until(lambda: gateway.state()[counter] == 0, "the upstream was hung up on")
    wait_until(lambda: gateway.control("slots") == "0", "nothing is counted as open")


@contextlib.contextmanager
def begin_upload(gateway: Gateway, path: str, length: int, *more: str) -> Iterator[socket.socket]:
    """Send the head of an upload, with further header fields."""
    with gateway.writer() as client:
        token, cookie = client.headers["X-CSRFToken"], client.cookies["gateway_csrftoken"]
    head = (
        f"POST /gateway/echo/{path} HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.port}",
        f"Cookie: gateway_sessionid={gateway.keys[0]}; gateway_csrftoken={cookie}",
        f"X-CSRFToken: {token!s}",
        f"Content-Length: {length}",
        *more,
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall("\r\n".join((*head, "", "")).encode())
        yield connection


def test_client_that_disconnects_in_an_upload_ends_it(gateway: Gateway) -> None:
    with begin_upload(gateway, "upload?case=left", 100_000) as connection:
        connection.sendall(b"the beginning")
        wait_until(lambda: gateway.state().get("bytes taken left", 0) == 13, "the upload has begun")
    wait_until(lambda: gateway.state().get("aborted uploads left", 0) == 1, "it is aborted")


def test_slow_reader_slows_the_upstream(gateway: Gateway) -> None:
    before = gateway.state().get("bytes", 0)
    with open_stream(gateway, f"echo/download?size={512 * MIB}", receive_buffer=65536):
        sent = -1
        while sent != (sent := gateway.state().get("bytes", 0) - before) or sent == 0:
            with contextlib.suppress(requests.RequestException):
                gateway.get("echo/x")  # a while, in which the upstream could send more
        assert 0 < sent < 64 * MIB
    wait_until(lambda: gateway.control("slots") == "0", "the call is over")


@pytest.mark.long
def test_reader_that_receives_nothing_is_disconnected_at_any_point(gateway: Gateway) -> None:
    """In the middle, and where all of the response but its end has been handed to the server."""
    with gateway.switch("reader/0.5", "reader/300"), contextlib.ExitStack() as stack:
        for size in range(MIB, 6 * MIB, 65536):
            path = f"echo/download?size={size}"
            stack.enter_context(open_stream(gateway, path, receive_buffer=4096))
        wait_until(lambda: gateway.control("slots") != "0", "the calls have begun")
        wait_until(lambda: gateway.control("slots") == "0", "the calls are over")


def test_slow_upstream_slows_the_client(gateway: Gateway) -> None:
    body = b"x" * (64 * MIB)
    with begin_upload(gateway, "stalled-upload", len(body), "Connection: close") as connection:
        connection.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < len(body):
                sent += connection.send(body[sent : sent + MIB])
        assert sent < 32 * MIB
        requests.get(f"http://127.0.0.1:{gateway.upstream_port}/go", timeout=10)
        connection.settimeout(20)
        connection.sendall(body[sent:])
        response = b""
        while piece := connection.recv(65536):
            response += piece
    assert hashlib.sha256(body).hexdigest().encode() in response


def test_large_transfers_take_no_memory(gateway: Gateway) -> None:
    size = int(os.environ.get("TRANSFERRED_MIB", "64")) * MIB
    gateway.get("echo/x")
    before = gateway.process.memory_info().rss
    peak = 0

    def pieces() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(size // MIB):
            yield b"x" * MIB
            peak = max(peak, gateway.process.memory_info().rss)

    with gateway.writer() as client:
        response = client.post(f"{gateway.url}/gateway/echo/upload", data=pieces(), timeout=60)
        assert response.json()["size"] == size
        url = f"{gateway.url}/gateway/echo/download?size={size}&length"
        received = 0
        with client.get(url, stream=True, timeout=60) as response:
            for piece in response.iter_content(MIB):
                received += len(piece)
                peak = max(peak, gateway.process.memory_info().rss)
    assert received == size
    grown = (peak - before) / MIB
    sys.stdout.write(f"{size // MIB} MiB each way, {grown:.1f} MiB of memory more\n")
    assert grown < 16


def test_stream_of_an_ended_session_is_ended(gateway: Gateway) -> None:
    with gateway.switch("check/0.2", "check/60"), gateway.client(7) as client:
        url = f"{gateway.url}/gateway/echo/events"
        with client.get(url, stream=True, timeout=10) as response:
            lines = response.iter_lines(chunk_size=1)
            assert next(lines) == b"id: 1"
            gateway.control(f"end/{gateway.keys[7]}")
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(lines)
        assert client.get(url, timeout=10).status_code == 401


def test_stream_of_a_user_deactivated_in_this_process_ends_immediately(gateway: Gateway) -> None:
    """What another process does is found out within a minute: SESSION_CHECK."""
    try:
        with (
            gateway.client() as client,
            client.get(f"{gateway.url}/gateway/echo/events", stream=True, timeout=10) as response,
        ):
            lines = response.iter_lines(chunk_size=1)
            assert next(lines) == b"id: 1"
            gateway.control("active/0")
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(lines)
    finally:
        gateway.control("active/1")


def test_stream_outlasts_a_database_that_fails(gateway: Gateway) -> None:
    """A query to a missing SQLite file creates an empty one, without tables."""
    database = gateway.log.with_name("gateway.sqlite3")
    gateway.control("check/0.2")
    counter = "open streams in an outage"
    with open_stream(gateway, "echo/events?case=in%20an%20outage"):
        wait_until(lambda: gateway.state().get(counter, 0) == 1, "the stream is open")
        away = database.replace(database.with_name("away.sqlite3"))
        try:
            for _ in range(2):
                wait_until(database.exists, "it is asked whether the person is active")
                database.unlink()
            assert gateway.state()[counter] == 1
        finally:
            gateway.control("check/60")
            away.replace(database)
    wait_until(lambda: gateway.state()[counter] == 0, "the stream is closed")


async def first_event(gateway: Gateway, number: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    key = gateway.keys[number % 6]
    writer.write(
        f"GET /gateway/echo/events HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n"
        f"Cookie: gateway_sessionid={key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert b"data: event 1" in await reader.readuntil(b"\n\n\r\n")
    return writer


@pytest.mark.parametrize("streams", [96, pytest.param(1024, marks=pytest.mark.long)])
async def test_many_streams_need_no_thread_each(gateway: Gateway, streams: int) -> None:
    wait_until(lambda: gateway.state().get("open streams", 0) == 0, "those of before are closed")
    before = gateway.process.num_threads()
    writers: list[asyncio.StreamWriter] = []
    try:
        while len(writers) < streams:  # not all at once: a slow machine's gateway would time out
            writers += await asyncio.gather(*(first_event(gateway, n) for n in range(AT_ONCE)))
        assert gateway.state()["open streams"] == streams
        assert gateway.process.num_threads() <= before + 40  # the session engine's own, at most 32
    finally:
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers))
    wait_until(lambda: gateway.state()["open streams"] == 0, "all are closed")
