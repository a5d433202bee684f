"""Exchanges over a real socket yield one response or an error, on both transports."""

import threading

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response
from sessions_kms.concurrency.deadline import Limits
from tests.sessions_kms.aws.http_client import responses
from tests.sessions_kms.aws.http_client.conftest import PATIENT, Transport
from tests.sessions_kms.aws.http_client.scripted import (
    Peer,
    Server,
    echoes,
    make_response,
    repeats,
    request,
)


def test_connection_serves_one_request_after_the_other(transport: Transport) -> None:
    with Server(echoes) as server:
        asks = transport(server.port)
        for number in range(20):
            body = b"%d" % number * number * 1000
            assert asks.send(request(body)).body == body
        assert server.connections == 1


@pytest.mark.parametrize("size", [400_000, 4_000_000])
def test_large_requests_and_responses_pass(transport: Transport, size: int) -> None:
    body = bytes(range(256)) * (size // 256)
    with Server(echoes) as server:
        asks = transport(server.port)
        assert asks.send(request(body)).body == body
        assert asks.send(request(b"a")).body == b"a"
        assert server.connections == 1


def test_every_cut_is_an_error_and_the_next_call_is_answered(transport: Transport) -> None:
    whole = make_response(b"{}")

    def cuts(peer: Peer) -> None:
        peer.request()
        peer.send(whole[: peer.number])

    with Server(cuts) as server:
        asks = transport(server.port)
        with pytest.raises(ConnectionClosedError):
            asks.send(request())
        for _ in range(1, len(whole)):
            with pytest.raises(InvalidResponse):
                asks.send(request())
        assert asks.send(request()).body == b"{}"
        assert server.connections == len(whole) + 1


def test_response_in_single_bytes_is_one(transport: Transport) -> None:
    def dribbles(peer: Peer) -> None:
        body = peer.request()
        for byte in responses.INTERIM + make_response(body):
            peer.send(bytes([byte]))
        peer.wait_for_the_end()

    with Server(dribbles) as server:
        assert transport(server.port).send(request()).body == responses.BODY


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (responses.INTERIM, responses.BODY),
        (responses.CHUNKED, responses.BODY),
        (responses.SIZED, responses.BODY),
    ],
)
def test_response_of_any_form_keeps_the_connection(
    transport: Transport, said: bytes, body: bytes
) -> None:
    with Server(repeats(said)) as server:
        asks = transport(server.port)
        assert [asks.send(request()).body for _ in range(3)] == [body] * 3
        assert server.connections == 1


@pytest.mark.parametrize("said", [responses.CLOSING, responses.OLD])
def test_connection_marked_close_is_not_reused(transport: Transport, said: bytes) -> None:
    """The server would still respond on it."""

    with Server(repeats(said)) as server:
        asks = transport(server.port)
        for number in range(1, 4):
            assert not asks.send(request()).keep_alive
            assert server.connections == number


def test_surplus_response_is_discarded(transport: Transport) -> None:
    def doubles(peer: Peer) -> None:
        while True:
            body = peer.request()
            peer.send(make_response(body) + make_response(b"hers"))

    with Server(doubles) as server:
        asks = transport(server.port)
        for number in range(1, 4):
            assert asks.send(request(b"%d" % number)).body == b"%d" % number
            assert server.connections == number


def test_implausible_response_closes_the_connection(transport: Transport) -> None:
    """It may be that to another request, and then all that follow on its connection are."""

    def refuse(_: Response) -> None:
        raise InvalidResponse

    def tell(found: Response) -> None:
        raise LookupError(found.body)

    with Server(echoes) as server:
        asks = transport(server.port)
        for _ in range(3):  # An error that a response tells is none of its connection's.
            with pytest.raises(LookupError, match="a"):
                asks.send(request(b"a"), tell)
        assert server.connections == 1
        for number in range(1, 4):
            with pytest.raises(InvalidResponse):
                asks.send(request(), refuse)
            assert server.connections == number


@pytest.mark.parametrize("late", [make_response(b"hers"), b"H", b"\r\n"])
def test_data_between_two_calls_is_discarded(transport: Transport, late: bytes) -> None:
    called, said = threading.Event(), threading.Event()

    def speaks_unasked(peer: Peer) -> None:
        while True:
            peer.send(make_response(peer.request()))
            if peer.number == 0:
                called.wait(10)
                peer.send(late)
                said.set()

    with Server(speaks_unasked) as server:
        asks = transport(server.port)
        assert asks.send(request(b"1")).body == b"1"
        called.set()
        assert said.wait(10)
        assert asks.send(request(b"2")).body == b"2"
        assert server.connections == 2


def test_server_that_closes_between_two_calls_costs_nothing(transport: Transport) -> None:
    closed = threading.Semaphore(0)

    def closes(peer: Peer) -> None:
        peer.send(make_response(peer.request()))
        peer.socket.close()
        closed.release()

    with Server(closes) as server:
        asks = transport(server.port)
        for number in range(5):
            assert asks.send(request(b"%d" % number)).body == b"%d" % number
            assert closed.acquire(timeout=10)


def test_restarted_server_is_called_again(transport: Transport) -> None:
    with Server(echoes) as server:
        asks = transport(server.port)
        asks.send(request())
    with Server(echoes, port=server.port):
        assert asks.send(request(b"again")).body == b"again"


def test_request_that_a_closing_server_never_read_may_have_been_read(transport: Transport) -> None:
    def reads_and_closes(peer: Peer) -> None:
        peer.send(make_response(peer.request()))
        peer.request()

    with Server(reads_and_closes) as server:
        asks = transport(server.port)
        asks.send(request())
        with pytest.raises(ConnectionClosedError):  # to `calls.was_not_sent`: unknown
            asks.send(request())
        assert server.connections == 1  # nothing was sent a second time


def test_silence_ends(transport: Transport) -> None:
    def is_silent(peer: Peer) -> None:
        peer.request()
        peer.wait_for_the_end()

    with Server(is_silent) as server:
        limits = Limits(connect=30, first_byte=0.05, attempt=3600, call=3600)
        asks = transport(server.port, limits=limits)
        with pytest.raises(ReadTimeoutError):
            asks.send(request())


def test_response_that_trickles_ends(transport: Transport) -> None:
    """Each wait is short, but their sum is not; it would come to an end, and be right."""

    def trickles(peer: Peer) -> None:
        peer.request()
        for byte in make_response(b"a" * 200):
            peer.send(bytes([byte]))
            threading.Event().wait(0.01)

    with Server(trickles) as server:
        limits = Limits(connect=30, first_byte=30, attempt=1, call=30)
        with pytest.raises(ReadTimeoutError):
            transport(server.port, limits=limits).send(request())


def test_unread_request_ends(transport: Transport) -> None:
    over = threading.Event()

    def reads_nothing(_: Peer) -> None:
        over.wait(10)

    with Server(reads_nothing) as server:
        asks = transport(server.port, limits=Limits(30, first_byte=30, attempt=1, call=30))
        with pytest.raises(ReadTimeoutError):
            asks.send(request(bytes(30_000_000)))
        over.set()


def test_response_that_has_begun_may_pause(transport: Transport) -> None:
    """What is bounded is the silence before it, and then the whole."""

    def pauses(peer: Peer) -> None:
        whole = make_response(peer.request())
        peer.send(whole[:9])
        threading.Event().wait(1.2)
        peer.send(whole[9:])

    with Server(pauses) as server:
        asks = transport(server.port, limits=PATIENT._replace(first_byte=1))
        assert asks.send(request(b"x")).body == b"x"
