"""A connection serves one caller at a time; one of a cancelled call is not reused."""

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
from botocore.exceptions import ConnectTimeoutError

from sessions_kms.aws.errors import is_unsent
from sessions_kms.aws.http_client import asynchronous
from sessions_kms.aws.http_client.asynchronous import AsyncPool
from sessions_kms.aws.http_client.blocking import BlockingPool
from sessions_kms.concurrency.deadline import Attempt, OutOfTime
from sessions_kms.http.connecting import Origin
from tests.sessions_kms.aws.http_client.conftest import PATIENT
from tests.sessions_kms.aws.http_client.scripted import Peer, Server, echoes, make_response, request
from tests.support.forking import in_child
from tests.support.waiting import until

AT_ONCE = 64
CALLS = 20  # of each
FEW = 5  # connections
SOON = PATIENT._replace(connect=0.3)
variable: ContextVar[object] = ContextVar("variable")


def endpoint(server: Server) -> Origin:
    return Origin("127.0.0.1", server.port, tls=False)


@pytest.fixture
def echo() -> Iterator[Server]:
    with Server(echoes) as server:
        yield server


@pytest.fixture
def blocking(echo: Server) -> Iterator[BlockingPool]:
    transport = BlockingPool(endpoint(echo), limits=PATIENT)
    yield transport
    transport.close()


@pytest.mark.parametrize("connections", [FEW, AT_ONCE])
def test_threads_never_share_a_connection(echo: Server, connections: int) -> None:
    """`echoes` tells of two requests at one time."""
    blocking = BlockingPool(endpoint(echo), limits=PATIENT, connections=connections)
    together = threading.Barrier(AT_ONCE)

    def ask(number: int) -> None:
        together.wait()
        for call in range(CALLS):
            body = b"%d of %d" % (call, number) * number * 20
            assert blocking.send(request(body)).body == body

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, range(AT_ONCE)))
    blocking.close()
    assert echo.most_open <= connections
    assert echo.connections <= connections


@pytest.mark.parametrize("connections", [FEW, AT_ONCE])
def test_tasks_never_share_a_connection(echo: Server, connections: int) -> None:
    looping = AsyncPool(endpoint(echo), limits=PATIENT, connections=connections)

    async def ask(number: int) -> None:
        for call in range(CALLS):
            body = b"%d of %d" % (call, number) * number * 20
            assert (await looping.send(request(body))).body == body

    async def all_at_once() -> None:
        await asyncio.gather(*(ask(number) for number in range(AT_ONCE)))

    asyncio.run(all_at_once())
    assert echo.connections <= connections


def test_loops_of_two_threads_at_once_never_share_anything(echo: Server) -> None:
    """Large responses, which each loop reads into a separate buffer."""
    looping = AsyncPool(endpoint(echo), limits=PATIENT)
    together = threading.Barrier(2)

    async def ask(letter: bytes) -> None:
        for _ in range(CALLS):
            body = letter * 300_000
            assert (await looping.send(request(body))).body == body

    def loop(letter: bytes) -> None:
        with asyncio.Runner() as runner:
            together.wait()
            runner.run(ask(letter))
            together.wait()  # a loop that has ended is forgotten

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(loop, (b"a", b"b")))
    assert echo.connections == 2
    one, other = looping._of_loops.values()
    assert one.buffer.obj is not other.buffer.obj


def test_thread_without_a_free_connection_waits_and_gets_not_applied() -> None:
    asked, over = threading.Event(), threading.Event()

    def holds(peer: Peer) -> None:
        while True:
            body = peer.request()
            asked.set()
            over.wait(30)
            peer.send(make_response(body))

    with Server(holds) as server, ThreadPoolExecutor(2) as pool:
        blocking = BlockingPool(endpoint(server), limits=SOON, connections=1)
        first = pool.submit(blocking.send, request(b"first"))
        assert asked.wait(30)
        with pytest.raises(ConnectTimeoutError) as caught:
            blocking.send(request(b"second"))
        assert is_unsent(caught.value)
        over.set()
        assert first.result(30).body == b"first"
        assert blocking.send(request(b"third")).body == b"third"
        blocking.close()
        assert server.connections == 1


async def test_task_without_a_free_connection_waits_and_gets_not_applied() -> None:
    over = threading.Event()

    def holds(peer: Peer) -> None:
        while True:
            body = peer.request()
            over.wait(30)
            peer.send(make_response(body))

    with Server(holds) as server:
        looping = AsyncPool(endpoint(server), limits=SOON, connections=1)
        first = asyncio.ensure_future(looping.send(request(b"first")))
        second = asyncio.ensure_future(looping.send(request(b"second")))
        with pytest.raises(ConnectTimeoutError) as caught:
            await second
        assert is_unsent(caught.value)
        over.set()
        assert (await first).body == b"first"
        assert (await looping.send(request(b"third"))).body == b"third"
        assert server.connections == 1


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_task_closes_its_connection(turns: int) -> None:
    """After any number of turns of its loop: the server answers no sooner than the next asks."""
    cancelled = threading.Event()

    def respond_late(peer: Peer) -> None:
        while True:
            body = peer.request()
            if body == b"hers":
                peer.send(make_response(body)[:20])
                cancelled.wait(30)
                peer.send(make_response(body)[20:])
            else:
                peer.send(make_response(body))

    with Server(respond_late) as server:
        looping = AsyncPool(endpoint(server), limits=PATIENT, connections=1)
        task = asyncio.ensure_future(looping.send(request(b"hers")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        assert (await looping.send(request(b"mine"))).body == b"mine"
        assert (await looping.send(request(b"again"))).body == b"again"


async def test_task_cancelled_within_the_response_closes_its_connection() -> None:
    begun, closed = threading.Event(), threading.Event()

    def begins(peer: Peer) -> None:
        body = peer.request()
        if peer.number:
            peer.send(make_response(body))
            return
        peer.send(make_response(body)[:20])
        begun.set()
        peer.wait_for_the_end()
        closed.set()

    with Server(begins) as server:
        looping = AsyncPool(endpoint(server), limits=PATIENT)
        task = asyncio.ensure_future(looping.send(request(b"hers")))
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await looping.send(request(b"mine"))).body == b"mine"
        assert closed.wait(30)


async def test_idle_connection_keeps_nothing_of_the_request_that_opened_it(echo: Server) -> None:
    pool = AsyncPool(endpoint(echo), limits=PATIENT)

    async def serve() -> weakref.ref[threading.Event]:
        held = threading.Event()
        variable.set(held)
        await pool.send(request())
        return weakref.ref(held)

    found = await asyncio.create_task(serve())
    await asyncio.sleep(0)  # The loop has the finished task until then.
    gc.collect()
    assert found() is None
    assert echo.connections == 1


async def test_data_on_an_idle_connection_closes_it_immediately() -> None:
    """The loop has read it by the time of the next call, so the socket is quiet again."""
    answered, closed = threading.Event(), threading.Event()

    def speaks_unasked(peer: Peer) -> None:
        peer.send(make_response(peer.request()))
        if peer.number == 0:
            answered.wait(30)
            peer.send(make_response(b"hers"))
            peer.wait_for_the_end()
            closed.set()

    with Server(speaks_unasked) as server:
        looping = AsyncPool(endpoint(server), limits=PATIENT)
        await looping.send(request(b"first"))
        answered.set()
        assert await asyncio.to_thread(closed.wait, 10)
        assert (await looping.send(request(b"mine"))).body == b"mine"
        assert server.connections == 2


async def test_turn_returns_one_outcome_and_whether_more_is_expected() -> None:
    turn = asynchronous._Exchange(lambda _: "answer", Attempt(PATIENT), asyncio.get_running_loop())
    assert turn.receive(b"a")
    assert not turn.receive(b"more")  # before the task went on: the connection is to be closed
    turn.fail(OutOfTime())
    assert await turn.outcome() == "answer"


async def test_failure_of_a_cancelled_task_is_not_logged() -> None:
    loop, told = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: told.append(context))
    turn = asynchronous._Exchange(lambda _: None, Attempt(PATIENT), loop)
    turn.fail(OutOfTime())
    del turn
    gc.collect()
    assert told == []


@pytest.mark.parametrize("came", [True, False])
async def test_blocked_loop_receives_data_that_arrived_in_time(
    came: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop calls its timers before it reads."""
    monkeypatch.setattr(asynchronous, "GRACE", 30 if came else 0)
    turn = asynchronous._Exchange(lambda _: "answer", Attempt(PATIENT), asyncio.get_running_loop())
    turn.set_timeout(0)
    for _ in range(3):
        await asyncio.sleep(0)
    if came:
        turn.receive(b"a")
        assert await turn.outcome() == "answer"
    else:
        with pytest.raises(OutOfTime):
            await turn.outcome()
    turn.end()


def test_connections_of_a_loop_are_closed_with_it(echo: Server) -> None:
    looping = AsyncPool(endpoint(echo), limits=PATIENT)
    for number in range(1, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asyncio.run(looping.send(request()))
            gc.collect()
        assert until(lambda: echo.open == 0)
        assert echo.connections == number
    assert len(looping._of_loops) <= 1


def test_fork_leaves_connections_to_the_parent(blocking: BlockingPool) -> None:
    """Also while another thread holds a lock of it."""
    blocking.send(request(b"parent"))
    with blocking._idle._lock:
        asked = in_child(lambda: blocking.send(request(b"child")).headers["connection-number"])
    assert asked == "1"
    assert blocking.send(request(b"parent")).headers["connection-number"] == "0"


def test_forked_child_has_all_places_although_the_parent_used_them() -> None:
    asked, over = threading.Event(), threading.Event()

    def holds(peer: Peer) -> None:
        body = peer.request()
        asked.set()
        if body == b"parent":
            over.wait(30)
        peer.send(make_response(body))

    with Server(holds) as server, ThreadPoolExecutor(1) as pool:
        blocking = BlockingPool(endpoint(server), limits=SOON, connections=1)
        first = pool.submit(blocking.send, request(b"parent"))
        assert asked.wait(30)

        def ask() -> str:
            return str(blocking.send(request(b"child")).body.decode())

        assert in_child(ask) == "child"
        over.set()
        assert first.result(30).body == b"parent"
        blocking.close()


def test_forked_child_of_a_loop_leaves_its_connections_alone(echo: Server) -> None:
    looping = AsyncPool(endpoint(echo), limits=PATIENT)

    def ask() -> str:
        return str(
            asyncio.new_event_loop()
            .run_until_complete(looping.send(request()))
            .headers["connection-number"]
        )

    async def parent() -> list[str]:
        before = await looping.send(request())
        child = in_child(lambda: in_thread(ask))
        after = await looping.send(request())
        return [before.headers["connection-number"], child, after.headers["connection-number"]]

    assert asyncio.run(parent()) == ["0", "1", "0"]


def in_thread(work: object) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(20)  # type: ignore[arg-type]


def test_transport_does_not_outlive_its_user(echo: Server) -> None:
    """The list of fork handlers contains none."""
    transport = BlockingPool(endpoint(echo), limits=PATIENT)
    transport.send(request())
    transport.close()
    del transport
    gc.collect()
    assert until(lambda: echo.open == 0)
