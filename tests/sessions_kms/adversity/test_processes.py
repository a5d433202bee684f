"""Two processes with one table and one KMS: nothing lost, nothing resurrected, one data key."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from gateway_site.local.kms.server import serve
from sessions_kms.backend import SessionStore
from sessions_kms.services import id_of
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.real_workers import (
    make_real_time_stack,
    read_now,
    running_workers,
    save_now,
    settings_for,
)
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.worker import Worker, at_once
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.timeout(60),
]
ROUNDS = 8
Pair = tuple[Worker, Worker]


@pytest.fixture
def stack(make_stack: MakeStack, clock: FakeClock) -> Stack:
    return make_real_time_stack(make_stack, clock)


@pytest.fixture(scope="module")
def kept() -> Iterator[list[Worker]]:
    """Give the processes that live on from test to test: to start one takes long."""
    processes: list[Worker] = []
    yield processes
    for process in processes:
        with process:
            pass


@pytest.fixture
def pair(stack: Stack, kept: list[Worker]) -> Pair:
    one, other = on(stack, kept, 2)
    return one, other


def on(stack: Stack, kept: list[Worker], count: int) -> list[Worker]:
    """Yield so many processes with cold caches that use a stack and are ready for commands."""
    settings = settings_for(stack)
    alive = [process for process in kept if process.is_alive]
    kept += [Worker(settings) for _ in range(len(alive), count)]
    chosen = [process for process in kept if process.is_alive][:count]
    for process in chosen:
        assert process.ask("use", settings=settings) is None
        process.ask("warm_up")
    return chosen


def open_in(pair: Pair, key: str, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Have both processes load and change one session, without saving."""
    at_once((pair[0], "open", {"key": key, **mine}), (pair[1], "open", {"key": key, **theirs}))


def race(pair: Pair, mine: str, theirs: str) -> list[Any]:
    return at_once((pair[0], mine, {}), (pair[1], theirs, {}))


def test_two_processes_that_create_one_key_have_one_winner(stack: Stack, pair: Pair) -> None:
    for number in range(ROUNDS):
        key = f"{number:032}"
        at_once((pair[0], "open", {"by": 0}), (pair[1], "open", {"by": 1}))
        outcome = at_once((pair[0], "create", {"key": key}), (pair[1], "create", {"key": key}))
        assert sorted(map(str, outcome)) == ["CreateError", "None"]
        assert read_now(stack, key) == {"by": outcome.index(None)}


def test_two_processes_that_save_different_keys_lose_nothing(stack: Stack, pair: Pair) -> None:
    for number in range(ROUNDS):
        key = save_now(stack, a=0, b=0)
        open_in(pair, key, {"a": number}, {"b": number})
        assert race(pair, "save", "save") == [None, None]
        assert read_now(stack, key) == {"a": number, "b": number}


def test_logout_against_save_leaves_no_session(stack: Stack, pair: Pair) -> None:
    for _ in range(ROUNDS):
        key = save_now(stack, a=1)
        open_in(pair, key, {}, {"a": 2})
        logout, save = race(pair, "flush", "save")
        assert logout is None
        assert save in (None, "UpdateError")
        assert stack.sessions() == {}


def test_cycling_against_logout_leaves_at_most_the_moved_session(stack: Stack, pair: Pair) -> None:
    for _ in range(ROUNDS):
        key = save_now(stack, a=1)
        open_in(pair, key, {}, {})
        logout, cycle = race(pair, "flush", "cycle")
        moved = pair[1].ask("look")
        # A request that finds the session moved gets an error, and is not signed out.
        assert (logout, cycle) in ((None, "SessionInterrupted"), ("SessionMoved", None))
        assert not SessionStore().exists(key)
        assert len(stack.sessions()) == (cycle is None)
        if cycle is None:
            assert read_now(stack, moved["key"]) == {"a": 1}
            SessionStore().delete(moved["key"])


def test_cycling_against_a_token_change_loses_no_token_silently(stack: Stack, pair: Pair) -> None:
    for _ in range(ROUNDS):
        key = save_now(stack, token="old")
        open_in(pair, key, {}, {"token": "new"})
        cycle, refresh = race(pair, "cycle", "save")
        moved = pair[0].ask("look")
        assert cycle is None
        assert not SessionStore().exists(key)
        # The late request gets an error, and can store the token under the new key.
        expected = {None: "new", "SessionMoved": "old"}[refresh]
        assert read_now(stack, moved["key"]) == {"token": expected}
        SessionStore().delete(moved["key"])


def test_first_data_key_of_a_period_is_one_for_all_processes(
    make_stack: MakeStack, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    # Whoever generates has found nothing published. KMS answers when all three have asked, so
    # that all three go on to publish.
    all_ask = threading.Barrier(3)

    def on_call(name: str) -> None:
        calls.append(name)
        if name == "GenerateDataKey":
            with suppress(threading.BrokenBarrierError):
                all_ask.wait(timeout=1.5)

    with serve(None, 0, on_call=on_call) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", url)
        stack = make_real_time_stack(make_stack, clock)
        with running_workers(stack, 3) as processes:
            calls.clear()
            sessions = at_once(*((process, "burst", {"threads": 6}) for process in processes))
            first = list(calls)
            keys = [key for found in sessions for key in found]
            readings = [process.ask("read", keys=keys) for process in processes]
    # Two calls a process, and two more for each that lost the race, to adopt the winner's.
    assert sorted(first) == ["Decrypt"] * 7 + ["GenerateDataKey"] * 3
    assert len([name for name in stack.items() if name.startswith("data-key#")]) == 1
    assert len({item["encryptedKey"]["B"] for item in stack.sessions().values()}) == 1
    # All read all, and nobody asked KMS again for that.
    assert len(set(keys)) == 18
    assert readings[0] == readings[1] == readings[2]
    assert len(set(readings[0])) == 3
    assert calls == first


def test_later_process_adopts_the_published_data_key(
    stack: Stack, local_kms: LocalKMS, kept: list[Worker]
) -> None:
    key = save_now(stack, pid=1)
    (late,) = on(stack, kept, 1)
    before = len(local_kms.calls)
    late.ask("burst", threads=4)
    assert late.ask("read", keys=[key]) == [1]
    assert local_kms.calls[before:] == ["Decrypt"] * 2


def test_session_saved_by_a_process_that_was_killed_is_read_by_another(pair: Pair) -> None:
    killed, survivor = pair
    killed.ask("open", pid="the one before")
    killed.ask("save")
    key = killed.ask("look")["key"]
    killed.kill()
    assert survivor.ask("read", keys=[key]) == ["the one before"]


def test_process_killed_during_a_save_leaves_a_complete_session(stack: Stack, pair: Pair) -> None:
    key = save_now(stack, a=1)
    open_in(pair, key, {"a": 2, "big": "x" * 100_000}, {"b": 1})
    pair[0].tell("save")
    pair[0].kill()
    assert pair[1].ask("save") is None
    content = read_now(stack, key)
    assert content.pop("big", None) in (None, "x" * 100_000)
    assert content in ({"a": 1, "b": 1}, {"a": 2, "b": 1})


@pytest.mark.long
def test_limit_of_sessions_holds_after_sign_ins_of_eight_processes(
    stack: Stack, kept: list[Worker]
) -> None:
    """Fifty in random order, some at once, some in an outage; then five undisturbed ones."""
    chance = random.Random(7)  # noqa: S311 - a test's
    processes, now = on(stack, kept, 8), time.time()
    limited = settings_for(stack) | {"MAX_SESSIONS_PER_USER": 3}
    for process in processes:
        process.ask("use", settings=limited)
        process.ask("warm_up")
    signed_in = 0
    while signed_in < 50:
        now += chance.random()
        chosen = chance.sample(processes, min(chance.randint(1, 8), 50 - signed_in))
        faults = [chance.choice([None, None, "query", "get_item", "delete_item"]) for _ in chosen]
        at_once(
            *(
                (process, "sign_in", {"user": "7", "at": now, "outage_of": fault})
                for process, fault in zip(chosen, faults, strict=True)
            )
        )
        signed_in += len(chosen)
    keys = []
    for _ in range(5):
        now += 1
        keys.append(chance.choice(processes).ask("sign_in", user="7", at=now))
    stack.clock.now = now
    assert stack.sessions().keys() == {id_of(key) for key in keys[-3:]}
