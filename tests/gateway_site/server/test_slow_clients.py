"""Slow clients: each kind is disconnected, but not clients that are waiting.

The server's clock is put forward by the tests; nothing sleeps.
"""

import asyncio
import socket

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway_site.edge.client import RESPONSE_TIME
from gateway_site.server import OPTIONS, connections
from gateway_site.server.protocol import HEAD_TIME, LINGER, BoundedProtocol
from tests.gateway_site.server.served import (
    Application,
    Served,
    is_open,
    read_all,
    read_response,
    read_to_end,
)

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = GET.replace(b"/x", b"/large")
KEPT = 5  # seconds, uvicorn's default for an idle connection
SWEEP = 1  # seconds between two looks


def test_connection_without_a_request_is_closed(served: Served) -> None:
    client = served.connect()
    served.advance(HEAD_TIME - 1)
    assert is_open(client)
    served.advance(1 + SWEEP)
    assert read_to_end(client) == b""


def test_half_a_head_is_refused_in_time(served: Served) -> None:
    client = served.connect(GET[:20])
    served.advance(HEAD_TIME - 1)
    assert is_open(client)
    served.advance(1 + SWEEP)
    assert read_to_end(client).startswith(b"HTTP/1.1 408 ")
    assert served.application.reached == []


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "later request"])
def test_each_byte_of_a_head_that_trickles_gains_no_time(served: Served, before: bytes) -> None:
    client = served.connect(before)
    if before:
        read_response(client)
    for number in range(int(HEAD_TIME)):
        client.sendall(GET[number : number + 1])
        served.advance(1)
    served.advance(SWEEP)
    assert read_to_end(client).startswith(b"HTTP/1.1 408 ")
    assert len(served.application.reached) == bool(before)


def test_empty_line_gains_no_time(served: Served) -> None:
    client = served.connect()
    served.advance(HEAD_TIME - 1)
    client.sendall(b"\r\n")
    served.advance(1 + SWEEP)
    assert read_to_end(client).startswith(b"HTTP/1.1 408 ")


def test_idle_connection_is_kept_as_long_as_usual_and_then_closed_silently(served: Served) -> None:
    client = served.connect(GET)
    read_response(client)
    served.advance(KEPT - 1)
    assert is_open(client)
    client.sendall(GET)
    read_response(client)
    served.advance(KEPT + SWEEP)
    assert read_to_end(client) == b""


def test_request_under_way_outlasts_every_time_of_a_head(served: Served) -> None:
    """With half of the next head there already, which is not late before this one is answered."""
    client = served.connect(GET.replace(b"/x", b"/held") + GET[:20])
    served.advance(10 * HEAD_TIME)
    assert is_open(client)
    served.release()
    assert read_response(client).endswith(b"response to /held")
    client.sendall(GET[20:])
    assert read_response(client).endswith(b"response to /x")


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
def test_unread_body_ends_with_the_response(served: Served, framing: bytes) -> None:
    """Else it could trickle on for ever, past every bound, on a connection that was answered."""
    client = served.connect(b"POST /x HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    client.settimeout(20)
    got = read_all(client)  # the server's side is closed, the client's not yet
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in got
    served.advance(LINGER + SWEEP)
    assert_is_reset(client)
    assert served.application.reached == ["/x"]


def test_client_that_still_sends_after_its_response_is_closed_before_an_idle_one(
    served: Served,
) -> None:
    client = served.connect(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    read_all(client)
    served.settle()
    [there] = [each for each in connections._of_servers.values() if each._loop is served.loop]
    before = len(there)
    client.sendall(b"x")
    served.advance(LINGER + SWEEP)
    assert len(there) == before - 1


def assert_is_reset(client: socket.socket) -> None:
    """Sending to a closed connection fails."""

    def goes_on() -> None:
        while True:
            client.sendall(b"x" * 65536)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        goes_on()


def test_refused_client_can_send_on_and_still_read_why(served: Served) -> None:
    """A reset, which unread bytes would cause, would take the response away from it."""
    client = served.connect(b"POST / HTTP/1.1\r\n\r\n")
    client.sendall(b"x" * 1_000_000)
    assert read_all(client).startswith(b"HTTP/1.1 400 ")


def wait_until_full(served: Served) -> None:
    """Wait until the server holds as much of a response as it will."""
    pieces = -1
    while pieces != served.application.pieces:
        pieces = served.application.pieces
        served.settle()


def test_response_that_is_not_received_is_aborted(served: Served) -> None:
    client = served.connect(LARGE)
    wait_until_full(served)
    served.advance(RESPONSE_TIME + 2 * SWEEP)
    assert served.application.gone.wait(20)
    assert len(read_all(client)) < 100_000_000  # what the system held for it, of 1 GB


def test_slowly_received_response_continues(served: Served) -> None:
    client = served.connect(LARGE)
    for _ in range(3):
        wait_until_full(served)
        served.advance(RESPONSE_TIME - 10)
        left = 16 * 1024 * 1024  # more than the system holds of it
        while left:
            piece = client.recv(min(left, 65536))
            assert piece, "it was cut off"
            left -= len(piece)
    assert not served.application.gone.is_set()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_last_response_of_a_connection_is_aborted_too(served: Served, version: bytes) -> None:
    """Its transport would otherwise wait for the client for ever, with the descriptor."""
    client = served.connect(GET.replace(b"/x", b"/heavy").replace(b"1.1", version))
    begun = len(client.recv(65536))
    served.advance(KEPT + RESPONSE_TIME + 3 * SWEEP)
    assert begun + len(read_all(client)) < 30_000_000


def test_disconnect_ends_the_request_despite_pipelined_data(served: Served) -> None:
    """uvicorn tells the last request only: a stream before it would go on for nobody."""
    client = served.connect(LARGE + GET)
    served.settle()
    client.close()
    assert served.application.gone.wait(20)


def test_disconnect_is_noticed_despite_a_pipelined_request(served: Served) -> None:
    """uvicorn stops reading then, and a stream that is silent would wait for ever."""
    client = served.connect(GET.replace(b"/x", b"/watched"))
    served.settle()
    client.sendall(GET)
    served.settle()
    client.close()
    assert served.application.gone.wait(20)


class Unread(asyncio.Transport):
    """A connection that is to close once its client has taken the last bytes."""

    aborted = False

    def is_closing(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 100

    def abort(self) -> None:
        self.aborted = True


async def test_few_unreceived_bytes_do_not_keep_a_connection() -> None:
    config = uvicorn.Config(Application(), **OPTIONS)
    config.load()
    protocol, transport = BoundedProtocol(config, ServerState(), {}), Unread()
    protocol.connection_made(transport)
    protocol.check_timeouts(0)
    protocol.check_timeouts(RESPONSE_TIME - 1)
    assert not transport.aborted
    protocol.check_timeouts(RESPONSE_TIME)
    assert transport.aborted
