"""Requests of one process that save one session at once share a write, and nothing else."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline, write_queue
from sessions_kms.concurrency.threads import executor
from sessions_kms.concurrency.waits import CALLS
from sessions_kms.concurrency.write_queue import RETRY_BUDGET, WriteQueues
from sessions_kms.exceptions import SessionMoved, SessionTooLarge, StoreUnavailable
from sessions_kms.format.attributes import ITEM_MAX_BYTES
from sessions_kms.session.pending import PendingSave
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.support.memory_dynamodb import after, pass_unharmed
from tests.sessions_kms.support.sessions import open_again, save_changes, save_session, stored_item
from tests.sessions_kms.support.stacks import Stack, another_process, install
from tests.sessions_kms.support.stepping import in_time
from tests.sessions_kms.support.stories import wait_until_true
from tests.sessions_kms.support.wire import Fault
from tests.support.clock import FakeClock

WITHIN = 20  # seconds, after which a thread counts as hung


class Gate:
    """Holds the writes of sessions up from when it is closed, and counts them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.entered = threading.Semaphore(0)
        self.writes = 0
        self.then: list[Fault] = []  # done instead of the next writes, once it was closed
        self._may: threading.Event | None = None
        stack.dynamodb.on("PutItem session", self._put)

    def close(self) -> None:
        self.writes = 0
        self._may = threading.Event()

    def open(self) -> None:
        assert self._may is not None
        self._may.set()

    def _put(self, handle: Handle) -> Any:
        self.writes += 1
        if self._may is None:
            return handle()
        self.entered.release()
        assert self._may.wait(WITHIN)
        return self.then.pop(0)(handle) if self.then else handle()

    def wait_for(self, waiting: int) -> None:
        """Wait until so many are in the lane, the one who writes among them."""
        found = self.stack.services.write_queues._queues
        until = time.monotonic() + WITHIN
        while sum(len(lane.waiting()) for lane in list(found.values())) < waiting:
            assert time.monotonic() < until
            time.sleep(0.001)


@pytest.fixture
def gate(fake: Stack) -> Gate:
    return Gate(fake)


class Writers:
    """Threads that save; the first is on its way to the table when the others come."""

    def __init__(self, gate: Gate, sessions: list[SessionStore]) -> None:
        self.gate = gate
        self.told: list[BaseException | None] = [None] * len(sessions)
        self._threads = []
        gate.close()
        for number, session in enumerate(sessions):
            thread = threading.Thread(target=self._save, args=(number, session), daemon=True)
            self._threads.append(thread)
            thread.start()
            if number == 0:
                assert gate.entered.acquire(timeout=WITHIN)
            gate.wait_for(number + 1)

    def finish(self) -> list[str]:
        self.gate.open()
        for thread in self._threads:
            thread.join(WITHIN)
            assert not thread.is_alive(), "hung"
        assert len(self.gate.stack.services.write_queues) == 0, "kept, though nobody writes"
        return [type(error).__name__ if error else "ok" for error in self.told]

    def _save(self, number: int, session: SessionStore) -> None:
        try:
            session.save()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.told[number] = error


def writers(session: SessionStore, number: int) -> list[SessionStore]:
    """Give so many requests that have loaded a session and changed a key each."""
    found = [open_again(session) for _ in range(number)]
    for each, request in enumerate(found):
        request[f"key{each}"] = each
    return found


KEYS = {f"key{number}": number for number in range(5)}


def test_writers_arriving_during_a_write_share_the_next_one(gate: Gate) -> None:
    session = save_session(a=1)
    requests = writers(session, 5)
    assert Writers(gate, requests).finish() == ["ok"] * 5
    assert gate.writes == 2
    assert stored_item(session) == {"a": 1, **KEYS}
    for request in requests[1:]:  # All who share it go on from what it has stored.
        assert dict(request.items()) == {"a": 1, **KEYS}
    requests[3]["later"] = True
    requests[3].save()
    assert stored_item(session) == {"a": 1, **KEYS, "later": True}
    assert gate.writes == 3


def test_changes_are_laid_over_each_other_in_the_order_in_which_they_came(gate: Gate) -> None:
    session = save_session(a=1, b=1, c=1)
    requests = [open_again(session) for _ in range(4)]
    requests[0]["first"] = True
    requests[1]["a"] = 2
    del requests[1]["b"]
    requests[2]["a"] = 3
    requests[2]["b"] = 3
    del requests[3]["c"]
    assert Writers(gate, requests).finish() == ["ok"] * 4
    assert stored_item(session) == {"first": True, "a": 3}


def test_what_a_request_holds_of_its_session_stays_the_same_object(gate: Gate) -> None:
    session = save_session(cart=[1])
    requests = writers(session, 3)
    held = requests[1]._session, requests[1]["cart"]
    held[1].append(2)
    assert Writers(gate, requests).finish() == ["ok"] * 3
    assert requests[1]._session is held[0]
    held[1].append(3)
    requests[1].save()
    assert stored_item(session)["cart"] == [1, 2, 3]


def test_change_that_is_too_large_fails_alone(gate: Gate) -> None:
    session = save_session(**{USER_ID: "1"})
    requests = writers(session, 5)
    for number in (2, 3):  # Each has room, but not beside the other.
        requests[number]["large"] = str(number)
        requests[number][f"large{number}"] = "x" * (ITEM_MAX_BYTES // 2)
    told = Writers(gate, requests)
    assert told.finish() == ["ok", "ok", "ok", "SessionTooLarge", "ok"]
    assert isinstance(told.told[3], SessionTooLarge)
    content = stored_item(session)
    assert content.pop("large2")
    assert content == {USER_ID: "1", "large": "2", **{k: v for k, v in KEYS.items() if v != 3}}


def test_change_that_may_not_be_stored_by_itself_is_refused_before_it_queues(gate: Gate) -> None:
    session = save_session()
    requests = writers(session, 3)
    requests[1]["_links"] = ["no link"]
    gate.writes = 0
    with pytest.raises(ValueError, match="hexadecimal"):
        requests[1].save()
    assert gate.writes == 0


def test_sign_in_shares_no_write_and_others_get_an_error(gate: Gate) -> None:
    session = save_session(a=1)
    requests = writers(session, 4)
    requests[1][USER_ID] = "7"
    # The first one is stored before, so that the sign-in finds a changed record.
    assert Writers(gate, requests).finish() == ["ok", "UpdateError", "ok", "ok"]
    assert stored_item(session) == {"a": 1, "key0": 0, "key2": 2, "key3": 3}


def test_save_based_on_a_version_before_a_sign_in_gets_an_error(gate: Gate) -> None:
    session = save_session(a=1)
    requests = writers(session, 3)
    requests[0][USER_ID] = "7"
    assert Writers(gate, requests).finish() == ["ok", "UpdateError", "UpdateError"]
    assert stored_item(session) == {"a": 1, "key0": 0, USER_ID: "7"}
    assert USER_ID not in requests[1]


def test_too_large_change_gets_its_own_error_from_one_who_fails_otherwise(gate: Gate) -> None:
    """The sign-in leads and has failed already when it writes for the other."""
    session = save_session("1", a=1)
    requests = writers(session, 3)
    requests[0]["large"] = "x" * (ITEM_MAX_BYTES // 2)
    requests[1][USER_ID] = "7"
    requests[2]["large2"] = "x" * (ITEM_MAX_BYTES // 2)
    assert Writers(gate, requests).finish() == ["ok", "UpdateError", "SessionTooLarge"]


@pytest.mark.parametrize("number", [0, 2, 3])
def test_repeated_sign_in_restarts_the_limit_also_in_a_write_of_several(
    gate: Gate, number: int
) -> None:
    session = save_session("1", a=1)
    gate.stack.clock.advance(600)
    requests = writers(session, 4)
    requests[number]._signed_in = True
    assert Writers(gate, requests).finish() == ["ok"] * 4
    assert gate.writes == 2
    (item,) = gate.stack.sessions().values()
    assert item["createdAt"] == {"N": str(int(gate.stack.clock()))}


def test_who_replaces_everything_shares_no_write(gate: Gate) -> None:
    session = save_session(a=1)
    requests = writers(session, 4)
    requests[2] = SessionStore(session.session_key)
    requests[2].clear()
    requests[2]["only"] = True
    assert Writers(gate, requests).finish() == ["ok"] * 4
    assert gate.writes == 3
    assert stored_item(session) == {"only": True}
    assert dict(requests[3].items()) == {"a": 1, "key0": 0, "key1": 1, "key3": 3}


def test_one_that_ends_in_the_middle_of_its_write_leaves_the_others_to_theirs(gate: Gate) -> None:
    session = save_session()

    def dies(put: Handle) -> Any:
        put()
        raise SystemExit  # as an exception that a thread is sent

    gate.then = [dies]
    assert Writers(gate, writers(session, 3)).finish() == ["SystemExit", "ok", "ok"]
    assert stored_item(session) == {"key0": 0, "key1": 1, "key2": 2}


def test_lost_response_of_a_shared_write_is_everybodys(gate: Gate) -> None:
    session = save_session(a=1)

    def lose(put: Handle) -> Any:
        put()
        with another_process():
            theirs = open_again(session)
            theirs["key1"] = "theirs"
            gate.then.insert(0, pass_unharmed)
            theirs.save()
        raise ConnectionError

    gate.then = [pass_unharmed, lose]
    assert Writers(gate, writers(session, 4)).finish() == ["ok"] * 4
    # Not laid over what another one saved after it was applied.
    assert stored_item(session) == {"a": 1, "key0": 0, "key1": "theirs", "key2": 2, "key3": 3}
    assert gate.writes == 3


def test_shared_write_that_was_not_applied_is_made_again_for_all(gate: Gate) -> None:
    session = save_session(a=1)

    def beaten(put: Handle) -> Any:
        with another_process():
            save_changes(session, theirs=True)
        raise ConnectionError

    gate.then = [pass_unharmed, beaten]
    assert Writers(gate, writers(session, 3)).finish() == ["ok"] * 3
    expected = {"a": 1, "theirs": True, "key0": 0, "key1": 1, "key2": 2}
    assert stored_item(session) == expected


@pytest.mark.parametrize(("ends", "told"), [("delete", "UpdateError"), ("cycle", "SessionMoved")])
def test_end_or_move_of_the_session_reaches_all_waiters(gate: Gate, ends: str, told: str) -> None:
    session = save_session()
    other = open_again(session)
    running = Writers(gate, writers(session, 3))
    other.delete() if ends == "delete" else other.cycle_key()
    assert running.finish() == [told] * 3
    assert {type(error) for error in running.told} <= {UpdateError, SessionMoved}
    assert len({id(error) for error in running.told}) == 3, "an error is one request's own"


def test_who_has_no_time_left_leaves_and_is_not_written(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_session()
    requests = writers(session, 3)
    steady = FakeClock(0.0)
    install(replace(gate.stack.services, write_queues=WriteQueues(steady)))
    look = PendingSave.get_changes

    def time_passes(part: PendingSave, codec: Any) -> Any:
        steady.advance(RETRY_BUDGET)
        return look(part, codec)

    first = threading.Thread(target=requests[0].save)
    gate.close()
    first.start()
    assert gate.entered.acquire(timeout=WITHIN)
    monkeypatch.setattr(PendingSave, "get_changes", time_passes)
    with pytest.raises(StoreUnavailable):
        requests[1].save()
    gate.open()
    first.join(WITHIN)
    assert stored_item(session) == {"key0": 0}


def test_request_waits_for_another_ones_write_on_its_own_account(gate: Gate) -> None:
    session = save_session()
    requests = writers(session, 2)
    first = Writers(gate, requests[:1])
    with deadline.request(2 * deadline.LEAST):
        with pytest.raises(StoreUnavailable):
            requests[1].save()
        left = deadline.budget_left()
    assert left is not None
    assert left <= deadline.LEAST
    assert first.finish() == ["ok"]
    assert stored_item(session) == {"key0": 0}


def test_more_than_may_wait_are_refused_at_once(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "WAITING_MAX", 2)
    session = save_session()
    requests = writers(session, 3)
    running = Writers(gate, requests[:2])
    with pytest.raises(StoreUnavailable):
        requests[2].save()
    assert running.finish() == ["ok", "ok"]


@contextmanager
def resting(stack: Stack, latency: float) -> Iterator[tuple[Stack, list[float]]]:
    """Have writes take so long by a clock of the test's, and note the pauses."""
    steady, pauses = FakeClock(0.0), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        steady.advance(seconds)

    stack.dynamodb.on("PutItem session", after(lambda: steady.advance(latency)))
    stack.services = replace(stack.services, write_queues=WriteQueues(steady), sleep=sleep)
    install(stack.services)
    yield stack, pauses


def test_process_that_won_pauses_for_one_latency(fake: Stack) -> None:
    with resting(fake, 0.05) as (_, pauses):
        session = save_session()
        mine = open_again(session)
        with another_process():
            save_changes(session, theirs=True)
        mine["mine"] = 1
        mine.save()
        assert pauses == []
        mine["mine"] = 2
        mine.save()
        assert pauses == [pytest.approx(0.05)]
        mine["mine"] = 3
        mine.save()
        assert len(pauses) == 1, "nobody was met since"


def test_process_without_conflicts_never_pauses(fake: Stack) -> None:
    with resting(fake, 0.05) as (stack, pauses):
        session = save_session()
        for number in range(5):
            session["number"] = number
            session.save()
        assert pauses == []
        assert not stack.services.write_queues._rests


def test_rests_are_not_kept(fake: Stack) -> None:
    found: WriteQueues[Any] = fake.services.write_queues
    found.latency = 0.4
    for number in range(2 * write_queue.RESTING_MAX):
        found.yield_to_others(str(number))
    assert len(found._rests) <= write_queue.RESTING_MAX


def test_objects_of_a_shared_write_show_no_secret(gate: Gate) -> None:
    session = save_session(token="canary")
    running = Writers(gate, writers(session, 2))
    (lane,) = gate.stack.services.write_queues._queues.values()
    key = session.session_key or ""
    for shown in (lane, *lane.waiting(), *(place.work for place in lane.waiting())):
        assert "canary" not in repr(shown)
        assert key not in repr(shown)
    assert key not in repr(gate.stack.services.write_queues._queues)
    assert running.finish() == ["ok", "ok"]


async def test_64_tasks_that_wait_hold_up_no_load_and_take_no_thread(gate: Gate) -> None:
    session, other = await asyncio.to_thread(lambda: (save_session(), save_session(other=1)))
    requests = await asyncio.to_thread(writers, session, 64)
    gate.close()
    saves = [asyncio.create_task(request.asave()) for request in requests]
    assert await asyncio.to_thread(gate.entered.acquire, timeout=WITHIN)
    await asyncio.to_thread(gate.wait_for, 64)
    loads = [SessionStore(other.session_key) for _ in range(64)]
    found = await asyncio.wait_for(asyncio.gather(*(load.aload() for load in loads)), WITHIN)
    assert found == [{"other": 1}] * 64
    assert executor("sessions_kms-calls", CALLS)._work_queue.qsize() == 0
    gate.open()
    await asyncio.wait_for(asyncio.gather(*saves), WITHIN)
    assert await asyncio.to_thread(stored_item, session) == {
        f"key{each}": each for each in range(64)
    }
    assert len(gate.stack.services.write_queues) == 0


def test_save_that_blocks_a_loop_does_not_wait_for_a_task_of_that_loop(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django may allow it; the task that writes cannot go on meanwhile, nor can anybody else."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(write_queue, "RETRY_BUDGET", 10 * WITHIN)
    session = save_session(a=1)
    first, second = writers(session, 2)

    async def visits() -> str:
        gate.close()
        writing = asyncio.create_task(first.asave())
        await wait_until_true(lambda: len(gate.stack.services.write_queues) == 1)
        with pytest.raises(StoreUnavailable):
            second.save()
        gate.open()
        await writing
        second.save()
        return "saved"

    assert in_time(lambda: asyncio.run(visits())) == "saved"
    assert {"key0", "key1"} <= set(stored_item(session))
