"""More bodies than the memory limit: which requests the server ends."""

import logging
import socket
from collections.abc import Iterator

import pytest

from gateway_site.edge.client import ReceivedBodies
from gateway_site.server import connections
from gateway_site.server.connections import SWEEP, ConnectionLimits
from gateway_site.server.protocol import LINGER, BoundedProtocol
from tests.gateway_site.server.served import (
    Application,
    Served,
    is_open,
    read_all,
    read_response,
    read_to_end,
    serving,
)
from tests.support.waiting import wait_until

LIMIT = 200_000  # bytes
SIZE = 40_000  # of one body, nine tenths of which a slow client sends
SENT = SIZE * 9 // 10
HOST = b"HTTP/1.1\r\nHost: a\r\n"
FRAMINGS = [b"Content-Length: %d" % SIZE, b"Transfer-Encoding: chunked"]


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "BODIES_SIZE", LIMIT)
        with serving(Application()) as served:
            yield served


def connections_of(served: Served) -> ConnectionLimits:
    [found] = [each for each in connections._of_servers.values() if each._loop is served.loop]
    return found


def bodies_of(served: Served) -> ReceivedBodies:
    return connections_of(served).bodies


def in_buffers(served: Served) -> int:
    """Return how many bytes the server holds that no application has taken."""
    members = [
        each for each in connections_of(served)._members if isinstance(each, BoundedProtocol)
    ]
    return sum(len(each.cycle.body) for each in members if each.cycle is not None)


class Sender:
    """A client that sends a body in two parts."""

    def __init__(
        self, served: Served, path: bytes = b"/body", framing: bytes = FRAMINGS[0]
    ) -> None:
        is_chunked = framing == FRAMINGS[1]
        head = b"POST " + path + b" " + HOST + framing + b"\r\n\r\n"
        chunk = b"%x\r\n" % SIZE if is_chunked else b""
        self.socket = served.connect(head + chunk + b"x" * SENT)
        served.settle()
        self._rest = b"x" * (SIZE - SENT) + (b"\r\n0\r\n\r\n" if is_chunked else b"")

    def finish(self) -> bytes:
        self.socket.sendall(self._rest)
        return read_response(self.socket)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_body_that_has_been_arriving_longest_makes_room(served: Served, framing: bytes) -> None:
    first, *others = [Sender(served, framing=framing) for _ in range(LIMIT // SENT + 1)]
    got = read_to_end(first.socket)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in got
    assert all(is_open(each.socket) for each in others)
    assert all(each.finish().endswith(b"x" * SIZE) for each in others)


def test_nobody_waits_or_is_rejected_because_others_are_slow(served: Served) -> None:
    slow = [Sender(served) for _ in range(LIMIT // SENT)]
    for _ in range(2 * len(slow)):
        assert Sender(served).finish().endswith(b"x" * SIZE)
    assert sum(is_open(each.socket) for each in slow) == len(slow) - 1


def test_what_a_client_sends_after_its_end_is_not_kept(served: Served) -> None:
    first, *_ = [Sender(served) for _ in range(LIMIT // SENT + 1)]
    before = bodies_of(served).size
    first.socket.sendall(b"x" * 3 * LIMIT)
    served.settle()
    assert bodies_of(served).size == before <= LIMIT


@pytest.mark.parametrize("framing", FRAMINGS)
def test_body_that_alone_is_too_large_ends_itself(served: Served, framing: bytes) -> None:
    """Even with little memory, since parsers do not recover from this."""
    client = served.connect(b"POST /body " + HOST + framing.replace(b"40000", b"9999999"))
    chunk = b"%x\r\n" % (2 * LIMIT) if framing == FRAMINGS[1] else b""
    client.sendall(b"\r\n\r\n" + chunk + b"x" * 2 * LIMIT)
    assert read_all(client).startswith(b"HTTP/1.1 408 ")
    served.settle()
    assert bodies_of(served).size == 0


def test_request_behind_a_body_that_was_ended_is_not_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It came with the same packet: the parser has to stop there, and to answer once."""
    monkeypatch.setattr(connections, "BODIES_SIZE", 100)
    with serving(Application()) as served:
        body = b"POST /body " + HOST + b"Content-Length: 200\r\n\r\n" + b"x" * 200
        got = read_all(served.connect(body + b"GET /x " + HOST + b"\r\n"))
        assert got.count(b"HTTP/1.1 ") == 1
        served.advance(LINGER + SWEEP)
        assert len(connections_of(served)) == 0
    assert served.application.reached in ([], ["/body"])
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_body_of_a_rejected_client_is_discarded(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    refused = Sender(served, framing=FRAMINGS[1])
    refused.socket.sendall(b"x" * (SIZE - SENT) + b"\r\nno size\r\n")
    served.settle()
    assert bodies_of(served).size == 0
    others = [Sender(served) for _ in range(LIMIT // SENT + 1)]
    assert [is_open(each.socket) for each in others] == [False] + [True] * (len(others) - 1)
    assert read_all(refused.socket).count(b"HTTP/1.1 400 ") == 1
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_unread_body_counts(served: Served) -> None:
    """As with an application that never looks at it, while its response is on the way."""
    first, *others = [Sender(served, b"/held") for _ in range(LIMIT // SENT + 1)]
    assert read_to_end(first.socket).startswith(b"HTTP/1.1 408 ")
    assert in_buffers(served) == SENT * len(others)
    served.release()  # of the last
    assert read_response(others[-1].socket).endswith(b"response to /held")
    served.settle()
    assert bodies_of(served).size == SENT * (len(others) - 1)


def test_requests_sent_ahead_count_with_their_bodies(served: Served) -> None:
    """Sixteen may wait on one connection: of one that is ended none is answered."""
    ahead = b"POST /x " + HOST + b"Content-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE
    others = [Sender(served) for _ in range(2)]
    client = served.connect(b"GET /held " + HOST + b"\r\n")
    served.settle()
    for _ in range(LIMIT // SIZE):
        try:
            client.sendall(ahead)
        except ConnectionError:
            break
        served.settle()
    assert bodies_of(served).size <= LIMIT
    gone = [is_open(each) for each in (*(other.socket for other in others), client)]
    assert gone == [False, False, True]  # they began before
    late = [Sender(served) for _ in range(3)]
    assert not is_open(client)
    assert all(each.finish().endswith(b"x" * SIZE) for each in late)


WAYS = {
    "answered": b"POST /body " + HOST + b"Content-Length: 3\r\n\r\nabc",
    "answered unread": b"POST /x " + HOST + b"Content-Length: 3\r\n\r\nabc",
    "answered before its end": b"POST /x " + HOST + b"Content-Length: 9\r\n\r\nabc",
    "sent ahead": (b"POST /body " + HOST + b"Content-Length: 3\r\n\r\nabc") * 3,
    "half": b"POST /body " + HOST + b"Content-Length: 9\r\n\r\nabc",
    "half a chunk": b"POST /body " + HOST + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc",
    "malformed": b"POST /body " + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nz\r\n",
    "malformed ahead": b"GET /held " + HOST + b"\r\n"
    b"POST /body " + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nz\r\n",
    "upgrade ahead": b"POST /body " + HOST + b"Content-Length: 3\r\n\r\nabc"
    b"GET / " + HOST + b"Connection: upgrade\r\nUpgrade: x\r\n\r\nrest",
    "gone while held": b"POST /held " + HOST + b"Content-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_a_body_is_counted_when_its_connection_is_gone(served: Served, way: str) -> None:
    """What stayed would in time be the whole limit, and end everybody else."""
    for cut in range(1, len(WAYS[way]) + 1, max(1, len(WAYS[way]) // 10)):
        client = served.connect(WAYS[way][:cut])
        served.settle()
        client.close()
    client = served.connect(WAYS[way])
    client.shutdown(socket.SHUT_WR)
    served.settle()
    client.close()
    wait_until(lambda: len(bodies_of(served)) == bodies_of(served).size == 0, "nothing is left")


def test_idle_connection_keeps_no_body(served: Served) -> None:
    """One that was not read would stay there until the next request."""
    client = served.connect(b"POST /x " + HOST + FRAMINGS[0] + b"\r\n\r\n" + b"x" * SIZE)
    read_response(client)
    served.settle()
    assert bodies_of(served).size == 0
    assert in_buffers(served) == 0
