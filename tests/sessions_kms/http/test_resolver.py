"""Names are looked up in few threads, and the last good address serves on."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sessions_kms.concurrency.deadline import OutOfTime
from sessions_kms.concurrency.threads import THREADS, BoundedPool, Refused
from sessions_kms.http.connecting import FRESH, Address, Resolver, connect
from tests.support.clock import FakeClock
from tests.support.waiting import until

GOOD: list[Address] = [(socket.AF_INET, ("192.0.2.1", 443))]
SOON = 0.02  # seconds that are waited for something that does not come
LONG = 60.0


class NameServer:
    """Answers, is silent until it is released, or knows nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False
        self.unknown = False
        self.released = threading.Event()

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        if self.silent:
            self.released.wait()
        if self.unknown:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return GOOD


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.released.set()


def test_ip_address_is_not_looked_up(server: NameServer) -> None:
    resolver = Resolver(server)
    assert resolver.resolve("127.0.0.1", 80, LONG) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert resolver.resolve("::1", 80, LONG)[0][0] == socket.AF_INET6
    assert server.asked == []


def test_silent_resolver_times_out_and_the_name_is_looked_up_once(server: NameServer) -> None:
    server.silent = True
    resolver = Resolver(server)
    for _ in range(3):
        with pytest.raises(OutOfTime):
            resolver.resolve("a.example", 443, SOON)
    assert server.asked == ["a.example"]


@pytest.mark.parametrize("trouble", ["silent", "unknown"])
def test_last_good_address_serves_while_the_name_server_does_not(
    server: NameServer, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_kms.http.connecting.REFRESH_WAIT", SOON)
    resolver = Resolver(server)
    assert resolver.resolve("a.example", 443, LONG) == GOOD
    setattr(server, trouble, True)
    assert resolver.resolve("a.example", 443, LONG) == GOOD
    with pytest.raises(OSError, match=r"unknown|timed out"):
        resolver.resolve("b.example", 443, SOON)


async def test_event_loop_resolves_again_after_the_result_has_expired(
    server: NameServer, clock: FakeClock
) -> None:
    resolver = Resolver(server, steady=clock)
    assert await resolver.resolve_async("127.0.0.1", 80, LONG) == resolver.resolve(
        "127.0.0.1", 80, 0
    )
    for advance, asked in ((0, 1), (0, 1), (FRESH - 1, 1), (1, 2), (0, 2)):
        clock.advance(advance)
        assert await resolver.resolve_async("a.example", 443, LONG) == GOOD
        assert len(server.asked) == asked


@pytest.mark.parametrize("trouble", ["silent", "unknown"])
async def test_event_loop_gets_the_last_good_address_or_an_error(
    server: NameServer, clock: FakeClock, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_kms.http.connecting.REFRESH_WAIT", SOON)
    resolver = Resolver(server, steady=clock)
    await resolver.resolve_async("a.example", 443, LONG)
    clock.advance(FRESH)
    setattr(server, trouble, True)
    assert await resolver.resolve_async("a.example", 443, LONG) == GOOD
    with pytest.raises((socket.gaierror, TimeoutError)):
        await resolver.resolve_async("b.example", 443, SOON)


async def test_event_loop_is_refused_at_once_when_too_many_names_hang(server: NameServer) -> None:
    server.silent = True
    resolver = Resolver(server)
    for number in range(THREADS):
        with pytest.raises(TimeoutError):
            await resolver.resolve_async(f"{number}.example", 443, SOON)
    with pytest.raises(socket.gaierror, match="Too many"):
        await resolver.resolve_async("last.example", 443, LONG)


def test_hung_names_hold_so_many_threads_and_the_next_is_refused_at_once(
    server: NameServer,
) -> None:
    server.silent = True
    lookups: BoundedPool[list[Address]] = BoundedPool()
    resolver = Resolver(server, lookups)

    def ask(number: int) -> str:
        try:
            resolver.resolve(f"{number}.example", 443, SOON)
        except OutOfTime:
            return "out of time"
        except socket.gaierror:
            return "refused"
        return "resolved"

    with ThreadPoolExecutor(16) as pool:
        ended = list(pool.map(ask, range(200)))
    assert (ended.count("out of time"), ended.count("refused")) == (THREADS, 200 - THREADS)
    assert lookups.busy() == len(server.asked) == THREADS
    server.released.set()
    server.silent = False
    assert until(lambda: lookups.busy() == 0)
    assert resolver.resolve("200.example", 443, LONG) == GOOD


def test_flight_without_a_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    lookups: BoundedPool[int] = BoundedPool()
    with pytest.raises(RuntimeError):
        lookups.wait("any", lambda: 1, LONG)
    assert lookups.busy() == 0


def test_timeout_error_of_the_work_is_raised_unchanged() -> None:
    def times_out() -> int:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        BoundedPool[int]().wait("any", times_out, LONG)
    assert issubclass(Refused, OSError)


def test_next_address_is_tried_when_one_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody: Address = (socket.AF_INET, ("127.0.0.1", 9))
        there: Address = (socket.AF_INET, listener.getsockname())
        with connect([nobody, there], lambda: LONG, socket.socket) as made:
            assert made.getpeername() == listener.getsockname()
