"""More connections than the limit: which are closed, rejected or served."""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from pytest_django import Settings

from gateway_site.edge import descriptors
from gateway_site.edge.descriptors import (
    LEAST,
    MOST,
    RESERVED,
    SPARE,
    is_limit_low,
    max_connections,
)
from gateway_site.server import connections
from gateway_site.server.connections import peer_key
from gateway_site.transport import upstream_client
from gateway_site.transport.pool import Limits
from tests.gateway_site.server.served import (
    Application,
    Served,
    is_open,
    read_all,
    read_response,
    serving,
)
from tests.support.cases import each_case

BOUND = 8
SHARE = 2
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
WORKING = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nh"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(descriptors, "MOST", BOUND)
    with serving(Application()) as running:
        yield running


def source(number: int) -> str:
    return f"127.0.1.{number // SHARE + 1}"


def fill(served: Served, sent: bytes, count: int = BOUND) -> list[socket.socket]:
    """Connect as often as there is room, from as many addresses as that takes."""
    clients = []
    for number in range(count):
        clients.append(served.connect(sent, source=source(number)))
        served.settle()
    return clients


@pytest.mark.parametrize("sent", [b"", GET[:9]], ids=["silent", "half a head"])
def test_connection_that_has_waited_longest_makes_room(served: Served, sent: bytes) -> None:
    clients = fill(served, sent)
    assert read_response(served.connect(GET)).endswith(b"response to /x")
    assert [is_open(client) for client in clients] == [False] + [True] * (BOUND - 1)


def test_idle_connection_makes_room_and_one_with_a_request_does_not(served: Served) -> None:
    working = fill(served, WORKING, BOUND - 2)
    idle = served.connect(GET, source="127.0.2.1")
    read_response(idle)
    half = served.connect(GET[:9], source="127.0.2.2")
    served.settle()
    assert read_response(served.connect(GET)).endswith(b"response to /x")
    assert (is_open(idle), is_open(half)) == (False, True)
    for client in working:
        client.sendall(b"ello")
        assert read_response(client).endswith(b"hello")


def test_only_health_requests_are_served_while_all_connections_are_busy(served: Served) -> None:
    working = fill(served, WORKING)
    for _ in range(3 * SPARE):
        refused = read_all(served.connect(GET))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in refused
        healthy = read_all(served.connect(HEALTH))
        assert healthy.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in healthy
    assert set(served.application.reached) == {"/body", "/healthz"}
    assert all(is_open(client) for client in working)
    working[0].close()
    served.settle()
    assert read_response(served.connect(GET)).endswith(b"response to /x")


def test_health_is_served_while_others_occupy_the_spare_connections(served: Served) -> None:
    fill(served, WORKING)
    silent = [served.connect() for _ in range(3 * SPARE)]
    served.settle()
    assert read_all(served.connect(HEALTH)).startswith(b"HTTP/1.1 200 ")
    assert sum(is_open(client) for client in silent) == SPARE - 1


def test_one_peer_has_its_share_and_leaves_the_rest_to_others(served: Served) -> None:
    for _ in range(SHARE):
        served.connect(WORKING, source="127.0.0.2")
    served.settle()
    assert read_all(served.connect(GET, source="127.0.0.2")).startswith(b"HTTP/1.1 503 ")
    assert read_all(served.connect(HEALTH, source="127.0.0.2")).startswith(b"HTTP/1.1 200 ")
    assert read_response(served.connect(GET, source="127.0.0.3")).endswith(b"response to /x")


def test_in_a_full_share_an_idle_connection_of_the_peers_own_makes_room(served: Served) -> None:
    """As in an office behind one address, whose browsers keep connections that they do not use."""
    sources = ["127.0.0.3", *["127.0.0.2"] * SHARE]
    idle = [served.connect(GET, source=source) for source in sources]
    for client in idle:
        assert read_response(client).endswith(b"response to /x")
    assert read_response(served.connect(GET, source="127.0.0.2")).endswith(b"response to /x")
    assert [is_open(client) for client in idle] == [True, False] + [True] * (SHARE - 1)


def test_returned_share_can_be_taken_again(served: Served) -> None:
    for _ in range(3):
        clients = [served.connect(GET, source="127.0.0.2") for _ in range(SHARE)]
        for client in clients:
            assert read_response(client).endswith(b"response to /x")
            client.close()
        served.settle()


def test_connections_behind_a_declared_proxy_have_no_share(
    served: Served, settings: Settings
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for _ in range(BOUND - 1):
        served.connect(WORKING, source="127.0.0.2")
    served.settle()
    assert read_response(served.connect(GET, source="127.0.0.2")).endswith(b"response to /x")


def of(client: str, head: bytes) -> bytes:
    """The head as a proxy passes it on for a client."""
    first, _, rest = head.partition(b"\r\n")
    forwarded = b"X-Forwarded-For: 203.0.113.99, " + client.encode()
    return b"\r\n".join([first, forwarded, rest])


def test_each_client_behind_a_trusted_proxy_has_a_share(served: Served, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.2")]
    greedy, other = "203.0.113.1", "203.0.113.2"

    def send(client: str, head: bytes) -> socket.socket:
        connection = served.connect(of(client, head), source="127.0.0.2")
        served.settle()
        return connection

    held = [send(greedy, WORKING) for _ in range(SHARE)]
    refused = send(greedy, GET)
    assert read_response(refused).startswith(b"HTTP/1.1 503 ")
    # The proxy's connection stays, and the next request on it may be somebody else's.
    refused.sendall(of(other, GET))
    assert read_response(refused).endswith(b"response to /x")
    held[0].sendall(b"ello")
    assert read_response(held[0]).endswith(b"hello")
    assert read_response(send(greedy, GET)).endswith(b"response to /x")
    send(greedy, WORKING)
    assert read_response(send(greedy, GET)).startswith(b"HTTP/1.1 503 ")
    held[1].close()
    served.settle()
    assert read_response(send(greedy, GET)).endswith(b"response to /x")


def test_who_is_no_trusted_proxy_has_the_share_of_their_own_address(
    served: Served, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.2")]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for number in range(SHARE):
        served.connect(of(f"203.0.113.{number}", WORKING), source="127.0.0.3")
    served.settle()
    refused = served.connect(of("203.0.113.7", GET), source="127.0.0.3")
    assert read_all(refused).startswith(b"HTTP/1.1 503 ")


@each_case(
    ("address", "peer"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:0:1:2:3:4:5", 1), "20010db800000001"),
        (("2001:db8:0:1:ffff::", 1), "20010db800000001"),
        (("fe80::1%eth0", 1), "fe80000000000000"),
        (None, None),
    ],
)
def test_peer_is_an_address_or_the_network_that_one_client_has(
    address: tuple[str, int] | None, peer: str | None
) -> None:
    assert peer_key(address) == peer


def test_descriptors_are_kept_free_for_what_a_request_needs() -> None:
    backlog = 64
    for limit in (300, 1024, 4096):
        bound = max_connections(limit, backlog)
        assert bound >= 16
        assert 2 * bound + SPARE + backlog + RESERVED <= limit
        assert not is_limit_low(limit, backlog)
    assert max_connections(-1, backlog) == max_connections(10**6, backlog) == MOST


def test_idle_connections_to_upstreams_take_no_descriptor_from_what_is_kept_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway_site.edge.descriptors.descriptor_limit", lambda: 300)
    limits = upstream_client.limits()
    assert limits.in_all == max_connections(300) < Limits().in_all
    assert limits.idle <= limits.in_all


def test_too_few_descriptors_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "descriptor_limit", lambda: 1024)
    assert max_connections(1024, 2048) == LEAST
    asyncio.run(count_connections(2048))
    assert "raise `ulimit -n` or lower --backlog" in caplog.text


async def count_connections(backlog: int) -> None:
    connections._make_connections(backlog, asyncio.get_running_loop())
