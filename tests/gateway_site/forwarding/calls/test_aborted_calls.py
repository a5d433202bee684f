"""Calls whose client disconnects before the response leak no memory."""

import json
import os
import select
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from tests.gateway_site.support.gateways import Gateway
from tests.support.production import aws, children
from tests.support.production.environment import environment
from tests.support.waiting import wait_until

AT_ONCE = 3
# A closed transport of asyncio refers to itself (`_read_ready_cb`). These and their tuples and
# dictionaries are all that may wait for the collector, and this is how many each comes to.
OF_ASYNCIO = {
    "asyncio.selector_events._SelectorSocketTransport",
    "asyncio.trsock.TransportSocket",
    "socket.socket",
    "collections.deque",  # its buffer, since Python 3.12
    "builtins.dict",
    "builtins.method",
    "builtins.tuple",
}
OBJECTS_OF_TRANSPORT = 9
UNDER_WAY, WARM_UP, CALLS = 64, 6000, 12_000
GROWTH = 1024 * 1024  # bytes
RESET = struct.pack("ii", 1, 0)  # for SO_LINGER: closing sends a reset


@dataclass(frozen=True)
class Aborted:
    """A call, and how far it is when its client goes."""

    path: str
    upload: bool = False  # half a body
    waits: bool = True  # until the upstream has the call
    reads: bool = False  # the beginning of the response
    resets: bool = False


KINDS = {
    "before it is admitted": Aborted("/hang", waits=False),
    "before the answer": Aborted("/hang"),
    "before the answer, by a reset": Aborted("/hang", resets=True),
    "in the body": Aborted("/upload", upload=True),
    "in the body, by a reset": Aborted("/upload", upload=True, resets=True),
    "in an event stream": Aborted("/events", reads=True),
    "in the answer": Aborted("/half?silent=1&length=1", reads=True),
    "in a download": Aborted("/download?size=100000000", reads=True),
    "after the upstream broke off": Aborted("/half?length=1", reads=True),
}


def abort(gateway: Gateway, kind: Aborted, head: bytes) -> None:
    """Make calls and leave them."""
    path = kind.path.partition("?")[0]
    expected = gateway.state().get(path, 0) + AT_ONCE
    address = ("127.0.0.1", gateway.port)
    clients = [socket.create_connection(address, timeout=20) for _ in range(AT_ONCE)]
    try:
        for client in clients:
            client.sendall(head)
        if kind.waits:
            wait_until(lambda: gateway.state().get(path, 0) == expected, "the upstream is called")
        for client in clients:
            if kind.reads:
                assert client.recv(100)
            if kind.resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    finally:
        for client in clients:
            client.close()


def head_of(gateway: Gateway, kind: Aborted) -> bytes:
    """Return a signed-in request, with the beginning of a body where it has one."""
    with gateway.writer() as client:
        token, cookie = client.headers["X-CSRFToken"], client.cookies["gateway_csrftoken"]
    method, body = ("POST", "Content-Length: 100000\r\n\r\nthe beginning")
    if not kind.upload:
        method, body = "GET", "\r\n"
    return (
        f"{method} /gateway/echo{kind.path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n"
        f"Cookie: gateway_sessionid={gateway.keys[0]}; gateway_csrftoken={cookie}\r\n"
        f"X-CSRFToken: {token!s}\r\n{body}"
    ).encode()


def left_to_collector(gateway: Gateway, kind: Aborted) -> Counter[str]:
    """Return the types of what aborted calls leave to the cyclic collector."""
    head = head_of(gateway, kind)
    wait_until(lambda: gateway.control("slots") == "0", "calls of other tests are over")
    tasks = int(gateway.control("tasks"))
    gateway.control("garbage/on")
    try:
        abort(gateway, kind, head)
        wait_until(lambda: int(gateway.control("tasks")) <= tasks, "the calls are over")
    finally:
        found = Counter[str](json.loads(gateway.control("garbage/off")))
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_aborted_calls_leave_no_request_to_the_collector(gateway: Gateway, kind: Aborted) -> None:
    """With a request its session and tokens would stay, for as long as the collector waits."""
    left = left_to_collector(gateway, kind)
    transports = left["asyncio.selector_events._SelectorSocketTransport"]
    if sys.version_info < (3, 12):  # later ones free some at once, sometimes not all of them
        assert transports >= AT_ONCE
    assert left.keys() <= OF_ASYNCIO
    assert left.total() <= transports * OBJECTS_OF_TRANSPORT


@dataclass(frozen=True)
class Production:
    """A gateway in a process of its own, and the cookie of a signed-in user."""

    pid: int
    port: int
    path: str
    cookie: str


@contextmanager
def production_gateway(folder: Path, upstream: int) -> Iterator[Production]:
    """Run the gateway as production does, with stand-ins of KMS and DynamoDB beside it."""
    url = f"http://127.0.0.1:{upstream}"
    with patch.dict(os.environ), aws.running("answering", folder) as found:
        os.environ |= environment(found, folder, issuer="http://127.0.0.1:9", upstream=url)
        with children.python(
            "tests.support.production.gateway", log=folder / "gateway.log"
        ) as process:
            yield Production(process.pid, **json.loads(process.said))


def abort_before_response(gateway: Production, upstream: socket.socket) -> int:
    """Have calls under way at one time, and leave all; return how many the upstream had got.

    Others may be answered 503 on a machine that is too busy for its stand-ins.
    """
    request = f"GET /{gateway.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {gateway.cookie}\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(UNDER_WAY)]
    for client in clients:
        client.sendall(request.encode())
    waiting, received = set(clients), list[socket.socket]()
    while len(received) < len(waiting):
        ready = select.select([upstream, *waiting], [], [], 60)[0]
        assert ready, "calls got lost"
        waiting.difference_update(ready)
        if upstream in ready:
            received.append(upstream.accept()[0])
    for client in clients:
        client.close()
    for connection in received:
        with connection, suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
    return len(received)


def memory_after(calls: int, gateway: Production, upstream: socket.socket) -> int:
    """Return the bytes of memory that the gateway has once so many calls more were aborted."""
    while calls > 0:
        calls -= abort_before_response(gateway, upstream)
    return int(psutil.Process(gateway.pid).memory_info().rss)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_aborted_calls_take_no_memory(tmp_path: Path) -> None:
    """Measured after a warm-up: what the calls under way need at one time is allocated by then."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=UNDER_WAY) as upstream,
        production_gateway(tmp_path, upstream.getsockname()[1]) as gateway,
    ):
        before = memory_after(WARM_UP, gateway, upstream)
        grown = memory_after(CALLS, gateway, upstream) - before
    assert grown < GROWTH
