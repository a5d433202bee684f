"""A service that repeatedly times out is not called until a probe succeeds."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from sessions_kms.aws.calls import Service
from sessions_kms.aws.circuit import PROBE_EVERY, TIMEOUTS_MAX, Circuit, CircuitOpen, Outcome
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Wait, run_sync
from tests.support.clock import FakeClock

RESPONDED, TIMED_OUT, FAILED = Outcome.RESPONSE, Outcome.TIMEOUT, Outcome.FAILURE


class Threads:
    """Threads that the test runs; none can be started while ``none`` is set."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.none = False

    def start(self, job: Callable[[], None]) -> None:
        if self.none:
            raise RuntimeError("can't start new thread")
        self.waiting.append(job)


class Probed:
    """A probe with the given results, one after another."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.count = 0

    async def __call__(self) -> Outcome:
        self.count += 1
        return self.outcomes.pop(0)


class InLine(Wait):
    """Asks, and is answered after half a second."""

    def __init__(self, clock: FakeClock) -> None:
        self.count = 0
        self._clock = clock

    def block(self) -> Any:
        self.count += 1
        self._clock.advance(0.5)
        return {"asked": self.count}

    async def suspend(self) -> Any:
        return self.block()


class InALoop(Wait):
    """Calls, and gets the response when the test says so; an event loop must not block."""

    def __init__(self) -> None:
        self.count = 0
        self.is_asked, self.may_response = asyncio.Event(), asyncio.Event()

    def block(self) -> Any:
        pytest.fail("The event loop would wait here.")

    async def suspend(self) -> Any:
        self.count += 1
        self.is_asked.set()
        await self.may_response.wait()
        return {"asked": self.count}


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def circuit(threads: Threads, clock: FakeClock) -> Circuit:
    return Circuit("dynamodb", start=threads.start, clock=clock, pause=clock.advance)


def times_out(circuit: Circuit, times: int, probe: Probed) -> None:
    for _ in range(times):
        circuit.record(TIMED_OUT, probe)


def is_refused(circuit: Circuit, probe: Probed) -> bool:
    try:
        if circuit.is_open:
            run_sync(circuit.check(probe))
    except CircuitOpen:
        return True
    return False


def test_five_time_outs_in_a_row_open_it_and_four_do_not(
    circuit: Circuit, caplog: pytest.LogCaptureFixture
) -> None:
    never = Probed()
    times_out(circuit, TIMEOUTS_MAX - 1, never)
    circuit.record(RESPONDED, never)
    times_out(circuit, TIMEOUTS_MAX - 1, never)
    circuit.record(FAILED, never)  # Refused at once: it holds nobody up, and proves nothing.
    assert not is_refused(circuit, never)
    circuit.record(TIMED_OUT, never)
    assert is_refused(circuit, never)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "dynamodb timed out 5 times in a row" in caplog.text


def test_one_thread_probes_every_half_second_until_there_is_a_response(
    circuit: Circuit, threads: Threads, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    probe = Probed(TIMED_OUT, FAILED, RESPONDED)
    times_out(circuit, 3 * TIMEOUTS_MAX, probe)
    for _ in range(100):
        assert is_refused(circuit, probe)
        clock.advance(1)
    assert (len(threads.waiting), probe.count) == (1, 0)
    began = clock.now
    threads.waiting.pop()()
    assert (probe.count, clock.now - began) == (3, 3 * PROBE_EVERY)
    assert not is_refused(circuit, probe)
    assert caplog.messages[-1] == "dynamodb answers again."


def test_without_threads_the_next_call_probes_once_it_is_due(
    circuit: Circuit, threads: Threads, clock: FakeClock
) -> None:
    threads.none = True
    probe = Probed(TIMED_OUT, RESPONDED)
    times_out(circuit, TIMEOUTS_MAX, probe)
    assert is_refused(circuit, probe)
    assert probe.count == 0
    clock.advance(PROBE_EVERY)
    assert is_refused(circuit, probe)  # It was the probe, in line, and got no response.
    assert is_refused(circuit, probe)
    assert probe.count == 1
    clock.advance(PROBE_EVERY)
    assert not is_refused(circuit, probe)
    assert probe.count == 2


async def test_event_loop_without_threads_continues_during_a_probe(
    threads: Threads, clock: FakeClock
) -> None:
    service = Service("dynamodb")
    service.circuit = Circuit("dynamodb", start=threads.start, clock=clock)
    threads.none = True
    times_out(service.circuit, TIMEOUTS_MAX, Probed())
    clock.advance(PROBE_EVERY)
    ask = InALoop()
    call = asyncio.create_task(service.call(ask))
    await ask.is_asked.wait()
    with pytest.raises(CircuitOpen):  # Another one does not wait for it.
        await service.call(ask)
    ask.may_response.set()
    assert await call == {"asked": 2}


@pytest.mark.parametrize(("seconds", "asked"), [(0.55, 1), (0.65, 2)])
def test_call_whose_probe_took_its_time_is_not_begun(
    seconds: float, asked: int, threads: Threads, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "monotonic", clock)
    service = Service("dynamodb")
    service.circuit = Circuit("dynamodb", start=threads.start, clock=clock)
    threads.none = True
    times_out(service.circuit, TIMEOUTS_MAX, Probed())
    clock.advance(PROBE_EVERY)
    ask = InLine(clock)
    with suppress(deadline.OutOfTime), deadline.call(seconds):
        assert run_sync(service.call(ask)) == {"asked": 2}
    assert ask.count == asked
    assert not service.circuit.is_open


def test_it_opens_again_after_five_more(circuit: Circuit) -> None:
    times_out(circuit, TIMEOUTS_MAX, Probed())
    circuit._probe_until_response(Probed(RESPONDED))
    times_out(circuit, TIMEOUTS_MAX - 1, Probed())
    assert not circuit.is_open
    times_out(circuit, 1, Probed())
    assert circuit.is_open


def test_probe_that_breaks_ends_no_circuit_for_good(
    circuit: Circuit, threads: Threads, clock: FakeClock
) -> None:
    """Whatever a probe raises, the next call begins another one when it is due."""

    async def break_down() -> Outcome:
        raise ZeroDivisionError

    times_out(circuit, TIMEOUTS_MAX, Probed())
    with pytest.raises(ZeroDivisionError):
        circuit._probe_until_response(break_down)
    clock.advance(PROBE_EVERY)
    threads.waiting.clear()
    assert is_refused(circuit, Probed(RESPONDED))
    assert len(threads.waiting) == 1


def test_dropped_circuit_stops_probing(circuit: Circuit, threads: Threads) -> None:
    probe = Probed(TIMED_OUT)
    times_out(circuit, TIMEOUTS_MAX, probe)
    circuit.stop_probing()
    threads.waiting.pop()()
    assert probe.count == 0
