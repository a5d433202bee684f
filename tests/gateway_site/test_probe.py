"""The container's health check, as Docker runs it."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from gateway_site import probe
from tests.support.processes import free_port, module, output_of, run_to_end

Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """Listen, and handle one connection in a thread; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def accept() -> None:
            with closing(listener.accept()[0]) as connection:
                connection.settimeout(20)
                connection.recv(65536)
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def respond_with(data: bytes) -> Serve:
    return lambda connection: connection.sendall(data)


def run(port: int, **more: str) -> tuple[int, str]:
    """Return exit status and error output of the command."""
    env = {"PATH": os.environ["PATH"], "UVICORN_PORT": str(port), **more}
    done = run_to_end(module("gateway_site.probe"), env)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0),
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 2", 1),
        (b"", 1),
        (b"\x15\x03\x03\x00\x02\x02\x46", 1),
    ],
    ids=["200", "503", "half", "closed", "TLS"],
)
def test_only_200_is_healthy(response: bytes, status: int) -> None:
    with listening(respond_with(response)) as port:
        assert run(port)[0] == status


def test_request_is_one_that_the_server_takes() -> None:
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with closing(listener.accept()[0]) as connection:
                got.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=accept)
        thread.start()
        assert probe.is_alive(listener.getsockname())
        thread.join()
    assert got == [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]


def test_nothing_that_listens_is_one_line_and_exit_status_1() -> None:
    assert run(free_port()) == (1, "/healthz cannot be asked: ConnectionRefusedError\n")


def test_port_that_is_no_number_is_one_line_and_exit_status_1() -> None:
    assert run(0, UVICORN_PORT="http") == (1, "/healthz cannot be asked: ValueError\n")


@pytest.mark.long
def test_server_that_sends_nothing_or_trickles_is_given_up_on() -> None:
    """Only that it ends is looked at, by the time limit of the command: no other ends it."""

    def trickle(connection: socket.socket) -> None:
        connection.settimeout(0.4)
        for byte in probe.OK:
            connection.sendall(bytes([byte]))
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue
            except ConnectionResetError:
                return

    for serve in (trickle, lambda connection: connection.recv(1)):
        with listening(serve) as port:
            assert run(port)[0] == 1


def test_name_that_is_looked_up_for_ever_is_given_up_on() -> None:
    code = (
        "import sys, threading\n"
        "from gateway_site import probe\n"
        "probe.is_alive = lambda _: threading.Event().wait()\n"
        "sys.exit(probe.main())\n"
    )
    began = time.monotonic()
    assert run_to_end([sys.executable, "-c", code], {"PATH": os.environ["PATH"]}).returncode == 1
    assert time.monotonic() - began >= probe.LIMIT


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", 8000)),
        ({"UVICORN_HOST": "0.0.0.0", "UVICORN_PORT": "80"}, ("127.0.0.1", 80)),  # noqa: S104
        ({"UVICORN_HOST": "::", "UVICORN_PORT": " 81 "}, ("::1", 81)),
        ({"UVICORN_HOST": "10.0.0.1", "UVICORN_PORT": ""}, ("10.0.0.1", 8000)),
    ],
)
def test_address_is_the_server_s_own(environment: dict[str, str], address: tuple[str, int]) -> None:
    assert probe.find_address(environment) == address


def test_django_is_not_imported() -> None:
    """It runs every few seconds beside the server, on the same CPU."""
    code = "import sys, gateway_site.probe; print(*(n.partition('.')[0] for n in sys.modules))"
    assert {"django", "asyncio", "http", "uvicorn"}.isdisjoint(output_of(code).split())
