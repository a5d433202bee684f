"""The time limit for a client's body."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway_site.edge.client import Client
from gateway_site.rules.body import BODY_TIMEOUT, BYTES_PER_SECOND, RequestBody
from gateway_site.rules.problems import Problem
from tests.gateway_site.server.served import advance, on_moved_clock

CHUNKED = [(b"transfer-encoding", b"chunked")]


class Sender:
    """A client's body, read as an upstream takes it."""

    def __init__(self) -> None:
        self._sent: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.pieces = RequestBody(Client({"headers": []}, self._sent.get), CHUNKED, 10**9).pieces()

    def send(self, size: int) -> None:
        self._sent.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": True})

    def take(self) -> asyncio.Future[bytes]:
        return asyncio.ensure_future(anext(self.pieces))


async def assert_given_up(taking: asyncio.Future[bytes]) -> None:
    assert taking.done()
    with pytest.raises(Problem) as raised:
        await taking
    assert (raised.value.status, raised.value.code) == (408, "request_timeout")


@on_moved_clock
async def test_stalled_body_times_out() -> None:
    taking = Sender().take()
    await advance(BODY_TIMEOUT - 1)
    assert not taking.done()
    await advance(2)
    await assert_given_up(taking)


@on_moved_clock
async def test_each_byte_of_a_body_that_trickles_gains_next_to_nothing() -> None:
    sender = Sender()
    for _ in range(int(BODY_TIMEOUT) - 1):
        taking = sender.take()
        await advance(1)
        sender.send(1)
        await taking
    taking = sender.take()
    await advance(1.5)
    await assert_given_up(taking)


@on_moved_clock
async def test_body_at_the_least_pace_is_taken_to_its_end_however_long() -> None:
    sender = Sender()
    for _ in range(100):
        taking = sender.take()
        await advance(5)
        sender.send(5 * BYTES_PER_SECOND + 100)
        assert len(await taking) == 5 * BYTES_PER_SECOND + 100


@on_moved_clock
async def test_what_came_fast_does_not_pay_for_a_long_stall() -> None:
    sender = Sender()
    sender.send(100_000_000)
    await sender.take()
    taking = sender.take()
    await advance(BODY_TIMEOUT + 1)
    await assert_given_up(taking)


@on_moved_clock
async def test_slow_upstream_is_not_counted_against_the_client() -> None:
    sender = Sender()
    for _ in range(5):
        await advance(10 * BODY_TIMEOUT)
        sender.send(1)
        assert await sender.take() == b"x"
