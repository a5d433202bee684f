"""Large messages are read in turn: one person with many of them does not delay another one.

The row "one person with 60 messages of 1 MB" of the adversaries; the benchmark measures its times.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
import requests

from gateway_site.forwarding.calls.mcp.reading_threads import IN_LOOP, ReadingThreads, read_in_turn
from gateway_site.transport.pool import Owner
from tests.gateway_site.server.served import turns
from tests.gateway_site.support.gateways import Gateway
from tests.support.waiting import wait_until

APP, OTHER_APP = "app", "another app"


def owner(person: str, holder: str = APP) -> Owner:
    return Owner(holder, person)


class Work:
    """Work that ends when a test wants it."""

    running: list[Work]

    def __init__(self, threads: ReadingThreads, person: Owner, running: list[Work]) -> None:
        self._may_end = threading.Event()
        self._running = running
        self.task = asyncio.ensure_future(threads.run(person, self._work))

    def _work(self) -> None:
        self._running.append(self)
        self._may_end.wait(20)
        self._running.remove(self)

    def end(self) -> None:
        self._may_end.set()


async def until(running: list[Work], *expected: Work) -> None:
    """Wait until exactly these run."""
    await asyncio.to_thread(wait_until, lambda: set(running) == set(expected), "these run")
    await turns()
    assert set(running) == set(expected)


async def test_user_occupies_one_thread_and_their_apps_take_turns() -> None:
    threads, running = ReadingThreads(), list[Work]()
    first = [Work(threads, owner("1"), running) for _ in range(3)]
    other_app = Work(threads, owner("1", OTHER_APP), running)
    await until(running, first[0])
    second, third = (Work(threads, owner(each), running) for each in "23")
    await until(running, first[0], second)
    first[0].end()
    await until(running, second, third)  # which came before the first one's next work
    third.end()
    await until(running, second, first[1])
    first[1].end()
    await until(running, second, other_app)
    for each in (second, other_app, first[2]):
        each.end()
    await asyncio.gather(*(each.task for each in (*first, other_app, second, third)))
    while len(threads) > 0:  # A thread lets go of its work a moment after that has ended.
        gc.collect()
        await asyncio.sleep(0)


async def test_work_that_nobody_waits_for_keeps_its_thread_until_it_ends() -> None:
    """A client that disconnects would otherwise start as many as it likes."""
    threads, running = ReadingThreads(), list[Work]()
    given_up, waiting, last = (Work(threads, owner("1"), running) for _ in range(3))
    await until(running, given_up)
    given_up.task.cancel()
    waiting.task.cancel()
    await until(running, given_up)
    given_up.end()
    await until(running, last)
    last.end()
    await last.task
    assert waiting.task.cancelled()


async def test_error_of_the_work_is_raised_and_frees_the_thread() -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await read_in_turn(owner("1"), IN_LOOP + 1, lambda: 1 // 0)
    assert await read_in_turn(owner("1"), IN_LOOP + 1, threading.current_thread) is not (
        await read_in_turn(owner("1"), IN_LOOP, threading.current_thread)
    )


@pytest.fixture
def people(gateway: Gateway) -> Iterator[tuple[requests.Session, requests.Session]]:
    with gateway.writer() as first, gateway.writer(-1) as second:
        yield first, second


@pytest.mark.slow
def test_message_does_not_wait_for_all_of_another_persons(
    gateway: Gateway, people: tuple[requests.Session, requests.Session]
) -> None:
    """Counted, not timed: most of the others' messages are still unanswered by then."""
    url, kind = f"{gateway.url}/gateway/read/message", {"Content-Type": "application/json"}
    members = ",".join(f'"{number}":0' for number in range(10_000))
    large = f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{members}}}}}'.encode()
    first, second = people
    received, answered, all_sent = list[int](), list[int](), threading.Event()

    def body(number: int) -> Iterator[bytes]:
        yield large[:-1]
        received.append(number)
        all_sent.wait(20)
        yield large[-1:]

    def send(number: int) -> None:
        headers = {**kind, **cast("dict[str, str]", dict(first.headers))}
        cookies = first.cookies.get_dict()
        sent = requests.post(url, data=body(number), headers=headers, cookies=cookies, timeout=60)
        assert sent.status_code == 200
        answered.append(number)

    count = 40
    with ThreadPoolExecutor(count) as crowd:
        calls = [crowd.submit(send, number) for number in range(count)]
        wait_until(lambda: len(received) == count, "all are sent but for their last byte")
        all_sent.set()
        text = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": "a" * 20_000}}
        )
        assert second.post(url, data=text, headers=kind, timeout=60).status_code == 200
        before = len(answered)
        for each in calls:
            each.result()
    assert before < count // 2
