"""Waits for DynamoDB and KMS end, however a server behaves that has taken the call.

Each server here would hold a call for minutes; it ends because the engine ends it.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sessions_kms import services
from sessions_kms.aws import boto_session, circuit, clients
from sessions_kms.aws import kms as aws
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Limits
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable, TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.storage.table import Table
from tests.sessions_kms.support.slow_server import MANNERS, Manner, running_slowly
from tests.support.certificates import server_context
from tests.support.clock import FakeClock
from tests.support.waiting import until

KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-1111-4111-8111-111111111111"
HASTY = Limits(connect=0.1, first_byte=0.1, attempt=0.2, call=0.3)
TRIES = 20
BIG: Item = {"id": {"S": "big"}, "data": {"B": b"x" * 300_000}}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "HASTY", HASTY)


def table_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    services.reset()
    return Table(clients.dynamodb_client("eu-west-1"), name="sessions")


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    scheme: str = request.param
    return scheme


@pytest.mark.parametrize("manner", MANNERS)
def test_response_without_end_is_unavailable(
    manner: Manner, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "certificate.pem"
    context = server_context(trusted)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    monkeypatch.setattr(circuit, "TIMEOUTS_MAX", 1000)
    with running_slowly(manner, context if scheme == "https" else None) as server:
        table = table_at(f"{scheme}://127.0.0.1:{server.port}", monkeypatch)
        for _ in range(TRIES):
            with pytest.raises(TableUnavailable):
                run_sync(table.get("any"))
            with pytest.raises(TableUnavailable):
                run_sync(table.put(BIG))
            with pytest.raises(KMSUnavailable):
                aws.KMS().generate_data_key(KEY, {})
            if server.accepted >= 3:  # One may be out of time before, on a busy machine.
                break
        assert until(lambda: server.accepted >= 3)


def test_handshake_without_end_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_slowly("silent") as server:
        table = table_at(f"https://127.0.0.1:{server.port}", monkeypatch)
        with pytest.raises(TableUnavailable):
            run_sync(table.get("any"))


def test_handshake_has_the_remaining_time_of_the_connection(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "monotonic", clock)
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context()
    context.sslsocket_class = boto_session._TLSSocket
    with (
        theirs,
        deadline.attempting(Limits(1, 9, 9, 9)),
        context.wrap_socket(
            ours, server_hostname="example.org", do_handshake_on_connect=False
        ) as wrapped,
    ):
        clock.advance(0.75)
        with pytest.raises(TimeoutError):
            wrapped.do_handshake()
        assert wrapped.gettimeout() == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("manner", ["trickles its body", "silent"])
def test_two_hundred_of_them_leave_no_thread_and_no_socket(
    manner: Manner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "TIMEOUTS_MAX", 1000)
    with running_slowly(manner) as server:
        table = table_at(server.url, monkeypatch)
        with pytest.raises(TableUnavailable):
            run_sync(table.get("any"))
        before = threads(), sockets(server.port)
        assert failures(lambda number: run_sync(table.get(str(number))), 200) == 200
        assert server.accepted > 32  # the rest may be out of time before, on a busy machine
        assert threads() <= before[0]
        assert sockets(server.port) == before[1] == 0


def failures(call: Callable[[int], object], times: int) -> int:
    """Call from 32 threads; count how often the store was unavailable."""

    def fails(number: int) -> bool:
        try:
            call(number)
        except StoreUnavailable:
            return True
        return False

    with ThreadPoolExecutor(32) as pool:
        return sum(pool.map(fails, range(times)))


def threads(of: str = "sessions_kms-") -> int:
    return sum(thread.name.startswith(of) for thread in threading.enumerate())


def sockets(port: int) -> int:
    """Return how many connections this process has open to a port."""
    own = psutil.Process().net_connections("tcp")
    return sum(each.raddr.port == port for each in own if each.raddr)


# Names


@pytest.fixture
def silent_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have the name server not answer until the test ends; give the names that it was asked."""
    asked: list[str] = []
    responses = threading.Event()
    ask = socket.getaddrinfo

    def silent(host: str, *args: object) -> object:
        if args[-1] == socket.AI_NUMERICHOST:
            return ask(host, *args)  # type: ignore[arg-type]
        asked.append(host)
        responses.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "silent")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    yield asked
    responses.set()


def test_two_hundred_calls_of_a_name_that_hangs_hold_one_thread(
    silent_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "TIMEOUTS_MAX", 1000)
    table = table_at("http://dynamodb.invalid", monkeypatch)
    assert failures(lambda number: run_sync(table.get(str(number))), 200) == 200
    assert silent_names == ["dynamodb.invalid"]
    assert threads("sessions_kms-lookup") == 1
