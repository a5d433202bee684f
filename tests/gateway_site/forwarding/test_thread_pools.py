"""Work that a lane does apart sees the context of its task, its request's id say, and leaves it."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import pytest

from gateway_site.edge.client import Client, ClientGone
from gateway_site.forwarding.thread_pools import (
    QUEUE_TIMEOUT,
    FairSemaphore,
    QueueTimeout,
    ThreadPool,
)
from tests.gateway_site.server.served import advance, on_moved_clock, turns
from tests.support.cases import each_case

GONE = {"type": "http.disconnect"}
PIECE = {"type": "http.request", "body": b"a", "more_body": True}
LAST = {"type": "http.request", "body": b"b", "more_body": False}


class Channel:
    """What an ASGI server gives: messages, as they come."""

    def __init__(self, *messages: Mapping[str, Any]) -> None:
        self.asked = 0
        self._messages: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.say(*messages)

    def say(self, *messages: Mapping[str, Any]) -> None:
        for message in messages:
            self._messages.put_nowait(message)

    async def receive(self) -> Mapping[str, Any]:
        self.asked += 1
        return await self._messages.get()


def client(channel: Channel | None = None, peer: str | None = None, **headers: str) -> Client:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"headers": raw, "client": None if peer is None else (peer, 4711)}
    return Client(scope, (channel or Channel()).receive)


class Visit:
    """A request that takes a place, records it, and releases it on request."""

    def __init__(
        self, gate: FairSemaphore, name: str, order: list[str], who: Client | None = None
    ) -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._visit(gate, name, order, who or client()))

    async def _visit(self, gate: FairSemaphore, name: str, order: list[str], who: Client) -> None:
        async with gate.permit(who):
            order.append(name)
            await self.leave.wait()

    async def finish(self) -> None:
        self.leave.set()
        await self.task


@on_moved_clock
async def test_free_places_are_used_at_once_and_the_others_wait_in_order() -> None:
    gate, order = FairSemaphore(2), list[str]()
    visits = {name: Visit(gate, name, order) for name in "abcd"}
    await turns()
    assert order == ["a", "b"]
    await visits["b"].finish()
    await turns()
    assert order == ["a", "b", "c"]
    for name in "acd":
        await visits[name].finish()
    assert order == ["a", "b", "c", "d"]


@on_moved_clock
async def test_place_that_is_left_early_is_released_once() -> None:
    gate, order = FairSemaphore(1), list[str]()
    async with gate.permit(client()) as place:
        first, second = Visit(gate, "first", order), Visit(gate, "second", order)
        await turns()
        assert order == []
        place.release()
        await turns()
        assert order == ["first"]
    await turns()
    assert order == ["first"]
    await first.finish()
    await second.finish()


@on_moved_clock
async def test_request_that_waits_too_long_is_rejected_without_affecting_others() -> None:
    gate, order = FairSemaphore(1), list[str]()
    inside, early = Visit(gate, "inside", order), Visit(gate, "early", order)
    await advance(QUEUE_TIMEOUT - 0.5)
    late = Visit(gate, "late", order)
    await advance(0.6)
    with pytest.raises(QueueTimeout):
        await early.task
    assert not late.task.done()
    await inside.finish()
    await late.finish()
    assert order == ["inside", "late"]
    await Visit(gate, "next", order).finish()  # the place is free again


@on_moved_clock
async def test_who_has_gone_gets_no_place_and_the_next_does() -> None:
    gate, order, channel = FairSemaphore(1), list[str](), Channel()
    inside = Visit(gate, "inside", order)
    gone = Visit(gate, "gone", order, client(channel))
    next_ = Visit(gate, "next", order)
    await turns()
    channel.say(GONE)
    with pytest.raises(ClientGone):
        await gone.task
    await inside.finish()
    await next_.finish()
    assert order == ["inside", "next"]


@on_moved_clock
async def test_who_goes_at_the_moment_of_its_turn_hands_it_on() -> None:
    gate, order, channel = FairSemaphore(1), list[str](), Channel()
    inside = Visit(gate, "inside", order)
    gone, next_ = Visit(gate, "gone", order, client(channel)), Visit(gate, "next", order)
    await turns()
    channel.say(GONE)
    await inside.finish()
    with pytest.raises(ClientGone):
        await gone.task
    await next_.finish()
    assert order == ["inside", "next"]


@pytest.mark.parametrize("has_turn", [False, True])
def test_who_is_cancelled_keeps_no_place(has_turn: bool) -> None:
    @on_moved_clock
    async def cancel() -> None:
        gate, order = FairSemaphore(1), list[str]()
        inside, one = Visit(gate, "inside", order), Visit(gate, "one", order)
        await turns()
        if has_turn:
            inside.leave.set()
            await asyncio.sleep(0)  # it has left, and the other does not know yet
        one.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one.task
        await inside.finish()
        await Visit(gate, "next", order).finish()
        assert order == ["inside", "next"]

    cancel()


@on_moved_clock
async def test_events_received_while_waiting_are_read_later() -> None:
    gate, order = FairSemaphore(1), list[str]()
    inside = Visit(gate, "inside", order)
    channel = Channel(LAST)
    who = client(channel)
    waiting = Visit(gate, "waiting", order, who)
    await turns()
    await inside.finish()
    await waiting.finish()
    assert await who.receive() == LAST
    channel.say(GONE)
    assert await who.receive() == GONE


@on_moved_clock
async def test_waiting_request_buffers_one_piece_of_its_body() -> None:
    gate, order = FairSemaphore(1), list[str]()
    inside = Visit(gate, "inside", order)
    channel = Channel(PIECE, PIECE, LAST)
    who = client(channel)
    waiting = Visit(gate, "waiting", order, who)
    await turns()
    assert channel.asked == 1
    await inside.finish()
    await waiting.finish()
    assert [await who.receive() for _ in range(3)] == [PIECE, PIECE, LAST]


@on_moved_clock
async def test_client_is_not_told_to_continue_while_it_waits() -> None:
    gate, order = FairSemaphore(1), list[str]()
    inside, channel = Visit(gate, "inside", order), Channel(LAST)
    waiting = Visit(gate, "waiting", order, client(channel, Expect="100-continue"))
    await turns()
    await inside.finish()
    await waiting.finish()
    assert channel.asked == 0


@on_moved_clock
async def test_who_finds_a_place_is_not_listened_to() -> None:
    channel = Channel(GONE)
    await Visit(FairSemaphore(1), "a", [], client(channel)).finish()
    assert channel.asked == 0


@each_case(
    ("many", "one"),
    [
        ([client(peer="192.0.2.1")], client(peer="192.0.2.2")),
        # What somebody shows can be made up, and an IPv6 client has a whole /64.
        ([client(peer="192.0.2.1", Cookie=f"a={n}") for n in range(20)], client(peer="192.0.2.2")),
        ([client(peer=f"2001:db8::{n + 1}") for n in range(20)], client(peer="2001:db8:0:1::1")),
        # Behind one address, people and apps are distinguished by their credentials.
        ([client(peer="192.0.2.1", Cookie="a=1")], client(peer="192.0.2.1", Cookie="a=2")),
        ([client(Authorization="Bearer a")], client(Authorization="Bearer b")),
        ([client(Cookie="a=1")], client()),
    ],
    ids=["address", "made-up cookies", "IPv6", "cookie", "token", "nothing"],
)
def test_client_with_many_requests_does_not_delay_others(many: list[Client], one: Client) -> None:
    @on_moved_clock
    async def serve_fairly() -> None:
        gate, order = FairSemaphore(1), list[str]()
        inside = Visit(gate, "inside", order)
        await turns()
        crowd = [Visit(gate, "many", order, many[n % len(many)]) for n in range(40)]
        other = Visit(gate, "one", order, one)
        await turns()
        await inside.finish()
        for each in [*crowd, other]:
            each.leave.set()
        await asyncio.wait([each.task for each in [*crowd, other]])
        assert order.index("one") == 2  # after "inside" and one of the many
        assert len(order) == 42

    serve_fairly()


said: ContextVar[str] = ContextVar("said", default="nothing")


def test_work_apart_sees_the_context_of_its_task_and_leaves_nothing_in_it() -> None:
    def work() -> str:
        before = said.get()
        said.set("by the work")
        return before

    async def task() -> tuple[str, str]:
        said.set("by the task")
        return await ThreadPool("lane", 1).run_with_context(work), said.get()

    assert asyncio.run(task()) == ("by the task", "by the task")
