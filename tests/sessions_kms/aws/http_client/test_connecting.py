"""Connections are found, made and given up within their time, and then nothing was sent."""

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError

from sessions_kms.aws.errors import is_unsent
from sessions_kms.aws.http_client.asynchronous import AsyncPool
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.connections import AGE, TlsChannel
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Limits
from sessions_kms.http import connecting
from sessions_kms.http.connecting import Address, Origin, Resolver
from tests.sessions_kms.aws.http_client.conftest import PATIENT, Transport
from tests.sessions_kms.aws.http_client.scripted import Peer, Server, echoes, make_response, request
from tests.support.certificates import server_context
from tests.support.clock import FakeClock
from tests.support.processes import free_port
from tests.support.waiting import until

SOON = PATIENT._replace(connect=0.05)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return tmp_path / "certificate.pem"


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    return server_context(certificate)


def secure(server: Server, host: str = "127.0.0.1") -> Origin:
    return Origin(host, server.port, tls=True)


def test_refused_connection_is_reported(transport: Transport) -> None:
    with pytest.raises(EndpointConnectionError) as caught:
        transport(free_port()).send(request())
    assert is_unsent(caught.value)


def test_call_that_has_no_time_left_is_not_begun(transport: Transport) -> None:
    with Server(echoes) as server, deadline.call(deadline.LEAST):
        asks = transport(server.port)
        while (deadline.call_left() or 0) > 0:
            threading.Event().wait(0.01)
        with pytest.raises(ConnectTimeoutError) as caught:
            asks.send(request())
        assert is_unsent(caught.value)
        assert server.connections == 0


def test_name_is_looked_up_again_when_its_connections_are_old(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    ports: list[Address] = []
    resolver = Resolver(lambda _host, _port: ports[-1:], steady=clock)
    monkeypatch.setattr(connecting, "resolver", resolver)
    with Server(echoes) as old, Server(echoes) as new:
        asks = transport(Origin("table.example", 443, tls=False), steady=clock)
        ports.append((socket.AF_INET, ("127.0.0.1", old.port)))
        asks.send(request())
        ports.append((socket.AF_INET, ("127.0.0.1", new.port)))
        for _ in range(10):
            clock.advance(AGE / 10)
            asks.send(request())
        assert (old.connections, new.connections) == (1, 1)


def test_address_that_does_not_answer_is_passed_over(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(echoes) as server:
        nobody: Address = (socket.AF_INET, ("127.0.0.1", free_port()))
        there: Address = (socket.AF_INET, ("127.0.0.1", server.port))
        monkeypatch.setattr(connecting, "resolver", Resolver(lambda *_: [nobody, there]))
        asks = transport(Origin("table.example", 443, tls=False))
        assert asks.send(request(b"a")).body == b"a"


def test_unknown_name_is_reported(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_host: str, _port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(connecting, "resolver", Resolver(unknown))
    with pytest.raises(EndpointConnectionError, match=r"table\.example"):
        transport(Origin("table.example", 443, tls=False)).send(request())


def test_silent_name_server_blocks_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def is_silent(_host: str, _port: int) -> list[Address]:
        released.wait(30)
        return []

    monkeypatch.setattr(connecting, "resolver", Resolver(is_silent))
    looping = AsyncPool(Origin("table.example", 443, tls=False), limits=SOON)

    async def ask() -> int:
        task, turns = asyncio.ensure_future(looping.send(request())), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        with pytest.raises(ConnectTimeoutError):
            await task
        return turns

    assert asyncio.run(ask()) > 2  # one or two, if the lookup blocked the loop
    released.set()


@pytest.mark.parametrize("stalls", ["name", "handshake"])
def test_task_that_is_cancelled_before_it_is_connected_leaves_nothing(
    stalls: str,
    monkeypatch: pytest.MonkeyPatch,
    certificate: Path,
    tls: ssl.SSLContext,
) -> None:
    released, begun = threading.Event(), threading.Event()

    def is_silent(_host: str, _port: int) -> list[Address]:
        begun.set()
        released.wait(30)
        return []

    def stays(peer: Peer) -> None:
        begun.set()
        peer.wait_for_the_end()

    monkeypatch.setattr(connecting, "resolver", Resolver(is_silent))
    with Server(stays) as server:
        host = "table.example" if stalls == "name" else "127.0.0.1"
        looping = AsyncPool(secure(server, host), str(certificate), limits=PATIENT)

        async def give_up() -> None:
            task = asyncio.ensure_future(looping.send(request()))
            assert await asyncio.to_thread(begun.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(give_up())
        assert until(lambda: server.open == 0)
        released.set()


def test_tls_is_spoken_and_its_sessions_are_resumed(
    transport: Transport, tls: ssl.SSLContext, certificate: Path
) -> None:
    resumed: list[bool] = []

    def plays(peer: Peer) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        resumed.append(peer.socket.session_reused is True)
        peer.send(make_response(peer.request()))
        peer.send(make_response(peer.request(), b"Connection: close"))

    with Server(plays, tls) as server:
        asks = transport(secure(server), str(certificate))
        large = b"x" * 400_000
        for number in range(4):
            assert asks.send(request(b"%d" % number)).body == b"%d" % number
            assert asks.send(request(large)).body == large
    assert resumed == [False, True, True, True]


def test_session_of_tls_is_kept_once_it_can_be_resumed(
    transport: Transport, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    session = TlsChannel.session

    def note(self: TlsChannel) -> ssl.SSLSession | None:
        found = session(self)
        kept.append(found is not None and found.has_ticket)
        return found

    monkeypatch.setattr(TlsChannel, "session", note)

    def plays(peer: Peer) -> None:
        for _ in range(5):
            peer.send(make_response(peer.request()))

    with Server(plays, tls) as server:
        asks = transport(secure(server), str(certificate))
        for number in range(5):
            assert asks.send(request(b"%d" % number)).body == b"%d" % number
    assert kept == [True]


def test_unsolicited_tls_data_is_discarded(
    transport: Transport, tls: ssl.SSLContext, certificate: Path
) -> None:
    """In one record with the response, in one behind it, and in one that comes when it is read."""
    said = threading.Semaphore(0)
    read = threading.Event()

    def plays(peer: Peer) -> None:
        mine = make_response(peer.request())
        if peer.number == 0:
            peer.send(mine + make_response(b"hers"))
        else:
            peer.send(mine)
            if peer.number == 2:
                read.wait(30)
            peer.send(make_response(b"hers"))
        said.release()
        peer.wait_for_the_end()

    with Server(plays, tls) as server:
        asks = transport(secure(server), str(certificate))
        for number in range(4):
            assert asks.send(request(b"%d" % number)).body == b"%d" % number
            assert server.connections == number + 1
            read.set()
            assert said.acquire(timeout=30)


def test_response_that_is_cut_under_tls_is_garbled(
    transport: Transport, tls: ssl.SSLContext, certificate: Path
) -> None:
    """With the end that TLS has for it, and without."""

    def cuts(peer: Peer) -> None:
        peer.request()
        peer.send(make_response(b"abc")[:-1])
        assert isinstance(peer.socket, ssl.SSLSocket)
        if peer.number:
            peer.socket.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.socket.unwrap()

    with Server(cuts, tls) as server:
        asks = transport(secure(server), str(certificate))
        for _ in range(2):
            with pytest.raises(InvalidResponse):
                asks.send(request())


def test_certificate_of_an_unknown_authority_is_rejected(
    transport: Transport, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    server_context(tmp_path / "other.pem")
    with Server(echoes, tls) as server:
        asks = transport(secure(server), str(tmp_path / "other.pem"))
        with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            asks.send(request())


def test_certificate_of_another_host_is_refused_and_the_host_was_named(
    transport: Transport, tls: ssl.SSLContext, certificate: Path
) -> None:
    named: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: named.append(name)
    with Server(echoes, tls) as server:
        asks = transport(secure(server, "localhost"), str(certificate))
        with pytest.raises(SSLError, match="localhost"):
            asks.send(request())
    assert named == ["localhost"]


def test_handshake_that_stalls_ends_and_nothing_was_sent(
    transport: Transport, certificate: Path, tls: ssl.SSLContext
) -> None:
    with Server(Peer.wait_for_the_end) as server:
        limits = Limits(connect=0.1, first_byte=30, attempt=30, call=30)
        asks = transport(secure(server), str(certificate), limits=limits)
        with pytest.raises(ConnectTimeoutError) as caught:
            asks.send(request())
        assert is_unsent(caught.value)


def test_handshake_that_is_closed_sent_nothing(
    transport: Transport, certificate: Path, tls: ssl.SSLContext
) -> None:
    def closes(peer: Peer) -> None:
        peer.socket.recv(1)

    with Server(closes) as server:
        asks = transport(secure(server), str(certificate))
        with pytest.raises(EndpointConnectionError) as caught:
            asks.send(request())
        assert is_unsent(caught.value)


def test_server_without_tls_is_not_spoken_to_in_the_clear(
    transport: Transport, certificate: Path, tls: ssl.SSLContext
) -> None:
    heard: list[bytes] = []

    def respond_in_the_clear(peer: Peer) -> None:
        heard.append(peer.socket.recv(65536))
        peer.send(make_response(b"{}"))
        peer.wait_for_the_end()

    with Server(respond_in_the_clear) as server:
        asks = transport(secure(server), str(certificate))
        with pytest.raises(SSLError):
            asks.send(request(b"secret"))
    assert b"secret" not in b"".join(heard)


def test_tls_without_authorities_is_a_fault_of_the_settings(transport: Transport) -> None:
    with pytest.raises(ValueError, match="authorities"):
        transport(Origin("a.example", 443))
    with Server(echoes) as server, pytest.raises(EndpointConnectionError):
        transport(secure(server), "/nowhere.pem").send(request())
