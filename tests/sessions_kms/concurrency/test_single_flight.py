"""Single flight: alone, and in the cache under real threads."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Stopwatch
from sessions_kms.concurrency.single_flight import FAILURES_MAX, Flights, _Flight
from sessions_kms.concurrency.waits import Pause, run_sync
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable, SessionsKMSError
from tests.sessions_kms.support.fakes import Call, State, together
from tests.sessions_kms.support.fleet import MAX_AGE, PERIOD, Process, kms_keyring, make_elsewhere
from tests.sessions_kms.support.stepping import as_coroutine, resume
from tests.support.clock import FakeClock

THREADS = 64
WAITERS = 8


class CountedFlights(Flights[bytes]):
    """Counts who has come, so that a test knows when all others wait."""

    def __init__(self, clock: FakeClock) -> None:
        def back_off(error: SessionsKMSError) -> float:
            return 5 if isinstance(error, InvalidRecord) else 1

        super().__init__(Stopwatch(clock, clock), unavailable=KMSUnavailable, back_off=back_off)
        self.entered = threading.Semaphore(0)

    def run_blocking(
        self, key: Hashable, work: Callable[[], bytes], *, waits: bool = True
    ) -> bytes:
        """Run the call in this thread."""
        return run_sync(self.run(key, as_coroutine(work), waits=waits))

    def _enter(self, key: Hashable, ours: _Flight[bytes], waits: bool) -> _Flight[bytes]:
        try:
            return super()._enter(key, ours, waits)
        finally:
            self.entered.release()


@pytest.fixture
def flights(clock: FakeClock) -> CountedFlights:
    return CountedFlights(clock)


def succeed() -> bytes:
    return b"result"


def fail() -> bytes:
    raise KMSUnavailable("Said once.", refused_key="arn")


def die() -> bytes:
    raise SystemExit


def never() -> bytes:
    raise AssertionError("a flight too many was started")


def outcomes(
    flights: CountedFlights, work: Callable[[], bytes], *, waits: bool = True
) -> tuple[object, list[object]]:
    """Fly while others come; return the outcome of the one who flew, and those of the others."""
    flown: list[object] = []
    flying = threading.Event()

    def work_once_all_have_come() -> bytes:
        flying.set()
        for _ in range(1 + WAITERS):
            assert flights.entered.acquire(timeout=30)
        return work()

    def fly() -> None:
        try:
            flown.append(flights.run_blocking("key", work_once_all_have_come))
        except BaseException as exc:  # noqa: BLE001 - the caller asserts on it
            flown.append(exc)

    pilot = threading.Thread(target=fly)
    pilot.start()
    assert flying.wait(timeout=30)
    waited = together(WAITERS, lambda _: flights.run_blocking("key", never, waits=waits))
    pilot.join(timeout=30)
    assert not pilot.is_alive()
    return flown[0], waited


def test_all_share_one_result(flights: CountedFlights) -> None:
    assert outcomes(flights, succeed) == (b"result", [b"result"] * WAITERS)


def test_all_share_one_failure_each_with_an_error_of_its_own(flights: CountedFlights) -> None:
    flown, waited = outcomes(flights, fail)
    errors = [flown, *waited]
    assert len({id(error) for error in errors}) == 1 + WAITERS
    for error in errors:
        assert isinstance(error, KMSUnavailable)
        assert (str(error), error.refused_key) == ("Said once.", "arn")
    for error in waited:
        assert isinstance(error, KMSUnavailable)
        assert error.__cause__ is error.__context__ is None


def test_dying_thread_leaves_no_waiter_and_no_failure(flights: CountedFlights) -> None:
    flown, waited = outcomes(flights, die)
    assert isinstance(flown, SystemExit)
    assert {type(error) for error in waited} == {KMSUnavailable}
    assert flights.run_blocking("key", succeed) == b"result"


def test_callers_that_do_not_wait_get_the_last_failure(
    flights: CountedFlights, clock: FakeClock
) -> None:
    with pytest.raises(KMSUnavailable):
        flights.run_blocking("key", fail)
    assert flights.entered.acquire(timeout=30)
    clock.advance(1)
    flown, waited = outcomes(flights, succeed, waits=False)
    assert flown == b"result"
    assert {str(error) for error in waited} == {"Said once."}


def test_callers_that_do_not_wait_get_an_error_during_another_call(flights: CountedFlights) -> None:
    flown, waited = outcomes(flights, succeed, waits=False)
    assert flown == b"result"
    assert {type(error) for error in waited} == {KMSUnavailable}


@pytest.mark.parametrize(("error", "seconds"), [(KMSUnavailable(), 1), (InvalidRecord("x"), 5)])
def test_failure_is_repeated_exactly_for_its_back_off(
    flights: CountedFlights, clock: FakeClock, error: SessionsKMSError, seconds: int
) -> None:
    def raise_it() -> bytes:
        raise error

    with pytest.raises(type(error)):
        flights.run_blocking("key", raise_it)
    clock.advance(seconds - 0.5)
    assert flights.is_backing_off("key")
    with pytest.raises(type(error)):
        flights.run_blocking("key", never)
    clock.advance(0.5)
    assert not flights.is_backing_off("key")
    assert flights.run_blocking("key", succeed) == b"result"


def test_failure_rests_no_other_key(flights: CountedFlights) -> None:
    with pytest.raises(KMSUnavailable):
        flights.run_blocking("key", fail)
    assert flights.run_blocking("other", succeed) == b"result"


def test_repeated_failure_does_not_prolong_its_back_off(
    flights: CountedFlights, clock: FakeClock
) -> None:
    for _ in range(4):
        with pytest.raises(KMSUnavailable):
            flights.run_blocking("key", fail if clock() == 1_800_000_000 else never)
        clock.advance(0.25)
    assert flights.run_blocking("key", succeed) == b"result"


def test_success_and_forgetting_end_a_failure(flights: CountedFlights) -> None:
    with pytest.raises(KMSUnavailable):
        flights.run_blocking("key", fail)
    flights.forget("key")
    assert flights.run_blocking("key", succeed) == b"result"
    assert not flights.is_backing_off("key")


def test_bug_in_the_work_is_raised_and_not_remembered(flights: CountedFlights) -> None:
    with pytest.raises(ZeroDivisionError):
        flights.run_blocking("key", lambda: bytes(1 // 0))
    assert flights.run_blocking("key", succeed) == b"result"


def test_last_failure_is_known_until_a_success(flights: CountedFlights, clock: FakeClock) -> None:
    with pytest.raises(KMSUnavailable) as raised:
        flights.run_blocking("key", fail)
    clock.advance(10)
    known = flights.last_failure("key", within=10.5)
    assert isinstance(known, KMSUnavailable)
    assert (str(known), known is raised.value) == ("Said once.", False)
    assert flights.last_failure("key", within=10) is None
    assert flights.last_failure("other", within=100) is None
    assert flights.run_blocking("key", succeed) == b"result"
    assert flights.last_failure("key", within=100) is None


def test_oldest_failures_are_forgotten_first(flights: CountedFlights) -> None:
    for key in range(FAILURES_MAX):
        with pytest.raises(KMSUnavailable):
            flights.run_blocking(key, fail)
    assert flights.is_backing_off(0)
    with pytest.raises(KMSUnavailable):
        flights.run_blocking("one more", fail)
    known = [flights.is_backing_off(key) for key in (0, 1, FAILURES_MAX - 1, "one more")]
    assert known == [False, True, True, True]


async def forever() -> bytes:
    await Pause(3600)
    return b"never"


@asynccontextmanager
async def flying(flights: CountedFlights) -> AsyncIterator[None]:
    """Have a task of this event loop make the call until the block ends."""
    pilot = asyncio.ensure_future(flights.run("key", forever))
    await asyncio.sleep(0)
    yield
    pilot.cancel()
    with suppress(asyncio.CancelledError):
        await pilot


@pytest.mark.parametrize("seconds", [0, 0.12])
async def test_task_waits_as_long_as_its_request_may(
    flights: CountedFlights, seconds: float
) -> None:
    async with flying(flights):
        with deadline.request(seconds), pytest.raises(KMSUnavailable):
            await flights.run("key", as_coroutine(never))


@pytest.mark.parametrize("seconds", [0, 0.12])
async def test_thread_waits_as_long_as_its_request_may(
    flights: CountedFlights, seconds: float
) -> None:
    def wait() -> None:
        with deadline.request(seconds), pytest.raises(KMSUnavailable):
            flights.run_blocking("key", never)

    async with flying(flights):
        await asyncio.to_thread(wait)


async def test_thread_of_a_loop_does_not_wait_for_a_task_of_its_own(
    flights: CountedFlights,
) -> None:
    async with flying(flights):
        with pytest.raises(KMSUnavailable):
            flights.run_blocking("key", never)


async def test_task_waits_unless_it_says_otherwise(flights: CountedFlights) -> None:
    calls = (flights.run("key", as_coroutine(succeed)) for _ in range(2))
    assert await asyncio.gather(*calls) == [b"result"] * 2


def test_work_that_needs_its_own_outcome_fails(flights: CountedFlights) -> None:
    with pytest.raises(KMSUnavailable):
        run_sync(flights.run("key", lambda: flights.run("key", as_coroutine(never))))


# In the cache


class Ending:
    """A key whose lookup runs the garbage collector, which ends abandoned coroutines."""

    def __init__(self) -> None:
        self.abandoned: list[Coroutine[Any, Any, bytes]] = []

    def __hash__(self) -> int:
        self.abandoned.clear()
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


async def within_a_call() -> bytes:
    with deadline.call(3):
        await Pause(3600)
    return b"never"


def abandon(flights: CountedFlights, key: Hashable) -> Coroutine[Any, Any, bytes]:
    """Return a flight in the middle, begun in the context of a task that is no more."""
    flight = flights.run(key, within_a_call)
    contextvars.Context().run(resume, flight)
    return flight


def test_abandoned_call_may_be_closed_while_another_one_enters(flights: CountedFlights) -> None:
    """The collector ends it in any thread and anywhere, also where this one holds the lock."""
    key = Ending()
    key.abandoned.append(abandon(flights, "other"))
    entered = threading.Thread(target=flights.run_blocking, args=(key, succeed), daemon=True)
    entered.start()
    entered.join(timeout=10)
    assert not entered.is_alive()
    assert flights.run_blocking("other", succeed) == b"result"


def test_waiter_takes_over_an_abandoned_call(flights: CountedFlights) -> None:
    pilot = abandon(flights, "key")
    came: list[bytes] = []
    waiter = threading.Thread(target=lambda: came.append(flights.run_blocking("key", succeed)))
    waiter.start()
    for _ in ("pilot", "waiter"):
        assert flights.entered.acquire(timeout=30)
    pilot.close()
    waiter.join(timeout=30)
    assert came == [b"result"]


def test_3000_cold_lookups_call_kms_once() -> None:
    process = Process()
    key = make_elsewhere(process.kms)

    def look_up(_: int) -> set[bytes]:
        return {process.unwrap(key.encrypted, PERIOD).plaintext for _ in range(3000 // THREADS)}

    assert together(THREADS, look_up) == [{key.plaintext}] * THREADS
    assert process.kms.count("decrypt") == 1


def test_lookup_just_after_a_call_has_finished_does_not_call_kms() -> None:
    process = Process()
    key = make_elsewhere(process.kms)
    run = process.cache._flights.run
    overtaken = False

    async def be_overtaken(*args: Any, **options: Any) -> DataKey:
        """Another lookup lands between this one's look into the cache and its own flight."""
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            process.unwrap(key.encrypted, PERIOD)
        return await run(*args, **options)

    process.cache._flights.run = be_overtaken  # type: ignore[method-assign]  # a seam for the race
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert overtaken
    assert process.kms.count("decrypt") == 1


def test_concurrent_lookups_at_the_expiry_call_kms_once() -> None:
    process = Process()
    key = make_elsewhere(process.kms)
    process.unwrap(key.encrypted, PERIOD)
    for renewals in range(1, 11):
        process.clock.advance(MAX_AGE)
        assert together(16, lambda _: process.unwrap(key.encrypted, PERIOD)) == [key] * 16
        assert process.kms.count("decrypt") == 1 + renewals


def test_cold_writes_in_many_threads_call_kms_once() -> None:
    process = Process()
    keys = together(THREADS, lambda _: process.generate(PERIOD))
    assert len(set(keys)) == 1
    assert len(process.kms.calls) == 2


def test_cold_lookups_in_an_outage_call_kms_once_and_all_fail() -> None:
    process = Process()
    key = make_elsewhere(process.kms)
    process.kms.set_state(State.UNREACHABLE)
    errors = together(THREADS, lambda _: process.unwrap(key.encrypted, PERIOD))
    assert {type(error) for error in errors} == {KMSUnavailable}
    assert process.kms.count("decrypt") == 1


def test_in_an_outage_one_probes_and_the_rest_go_on_with_the_stale_key() -> None:
    process = Process(background=False)
    key = process.generate(PERIOD)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    process.generate(PERIOD)
    process.clock.advance(1)
    probing, release = threading.Event(), threading.Event()
    released: list[bool] = []

    def hang(_: Call) -> None:
        probing.set()
        released.append(release.wait(timeout=30))

    process.kms.during = hang
    prober = threading.Thread(target=process.generate, args=(PERIOD,))
    prober.start()
    try:
        assert probing.wait(timeout=30)
        assert together(8, lambda _: process.generate(PERIOD)) == [key] * 8
    finally:
        release.set()
        prober.join(timeout=30)
    assert released == [True], "they waited for the one who probes"
    assert not prober.is_alive()


def test_slow_key_delays_no_other() -> None:
    process = Process()
    slow, quick = (
        run_sync(kms_keyring(process.kms).generate(period)) for period in (PERIOD, PERIOD - 1)
    )
    asked, release = threading.Event(), threading.Event()
    released: list[bool] = []

    def hang(call: Call) -> None:
        if call.context["period"] == str(PERIOD):
            asked.set()
            released.append(release.wait(timeout=30))

    process.kms.during = hang
    thread = threading.Thread(target=process.unwrap, args=(slow.encrypted, PERIOD))
    thread.start()
    try:
        assert asked.wait(timeout=30)
        assert process.unwrap(quick.encrypted, PERIOD - 1) == quick
    finally:
        release.set()
        thread.join(timeout=30)
    assert released == [True], "the other key waited for the slow one"
    assert not thread.is_alive()
