"""Which writes are repeated, and where: lower layers repeat none of unknown outcome.

A client of boto's shape raises, as boto does, what the wire did; what it was asked is counted.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from sessions_kms.aws import calls
from sessions_kms.aws.circuit import TIMEOUTS_MAX
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Pause, run_sync
from sessions_kms.exceptions import FateUnknown, NotApplied, TableUnavailable
from sessions_kms.storage.table import Table
from sessions_kms.storage.writes import PAUSES, REPEATS_MAX
from tests.support.clock import FakeClock

URL = {"endpoint_url": "aws"}
ITEM = {"id": {"S": "x"}}

Drive = Callable[[Coroutine[Any, Any, Any]], object]


def error_response(code: str, status: int = 400) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": metadata}, "PutItem")


UNKNOWN: dict[str, Exception] = {
    "no answer in time": ReadTimeoutError(**URL),
    "cut": ConnectionClosedError(**URL),
    "garbled": InvalidResponse(),
    "internal error": error_response("InternalServerError", 500),
    "of a proxy": error_response("503", 503),
}
NOT_APPLIED: dict[str, Exception] = {
    "no connection": EndpointConnectionError(**URL),
    "no connection in time": ConnectTimeoutError(**URL),
    "throttled": error_response("ThrottlingException"),
    "in conflict": error_response("TransactionConflictException"),
}


class Client:
    """Raises the given errors in sequence; ``asked`` counts the writes. It has its own clock."""

    def __init__(self, error: Exception, clock: FakeClock) -> None:
        self.asked = 0
        self.took = 0.0
        self._error = error
        self._clock = clock

    def put_item(self, **_: Any) -> dict[str, Any]:
        self.asked += 1
        self._clock.advance(self.took)
        raise self._error

    def get_item(self, **_: Any) -> dict[str, Any]:
        raise ReadTimeoutError(**URL)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    clock = FakeClock(1000.0)
    monkeypatch.setattr(deadline, "monotonic", clock)
    calls.reset()
    yield clock
    calls.reset()


@pytest.fixture(params=["thread", "loop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    """What is sent is sent by the same rules in a thread and in an event loop."""
    return run_sync if request.param == "thread" else asyncio.run


def table_of(client: Any) -> Table:
    return Table(client, name="sessions", pause=lambda _: Pause(0))


async def write_item(client: Client) -> Any:
    """Send a write that may not be applied twice."""
    return await table_of(client).put_once(ITEM)


async def repeat_write(client: Client) -> None:
    """Send a write that may."""
    return await table_of(client).put(ITEM)


@pytest.mark.parametrize("name", UNKNOWN)
def test_write_of_unknown_outcome_is_sent_once(name: str, clock: FakeClock, drive: Drive) -> None:
    client = Client(UNKNOWN[name], clock)
    with pytest.raises(FateUnknown):
        drive(write_item(client))
    assert client.asked == 1


@pytest.mark.parametrize("name", NOT_APPLIED)
def test_write_certainly_not_applied_is_repeated(
    name: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, drive: Drive
) -> None:
    monkeypatch.setattr("sessions_kms.aws.circuit.TIMEOUTS_MAX", 100)
    client = Client(NOT_APPLIED[name], clock)
    with pytest.raises(NotApplied):
        drive(write_item(client))
    assert client.asked == len(PAUSES) + 1


def test_refused_write_is_not_repeated_and_its_outcome_is_known(
    clock: FakeClock, drive: Drive
) -> None:
    client = Client(error_response("AccessDeniedException"), clock)
    with pytest.raises(TableUnavailable) as caught:
        drive(write_item(client))
    assert caught.type is TableUnavailable
    assert client.asked == 1


def hang(client: Client, drive: Drive) -> None:
    for _ in range(TIMEOUTS_MAX):
        with pytest.raises(FateUnknown):
            drive(write_item(client))


def test_write_that_a_service_which_hangs_is_spared_is_certainly_not_applied(
    clock: FakeClock, drive: Drive
) -> None:
    client = Client(ReadTimeoutError(**URL), clock)
    hang(client, drive)
    client.asked = 0
    with pytest.raises(TableUnavailable) as caught:
        drive(write_item(client))
    assert caught.type is TableUnavailable
    assert client.asked == 0


def test_write_for_which_no_time_is_left_is_certainly_not_applied(
    clock: FakeClock, drive: Drive
) -> None:
    client = Client(ReadTimeoutError(**URL), clock)
    with deadline.request(0.05), pytest.raises(TableUnavailable) as caught:
        drive(write_item(client))
    assert caught.type is TableUnavailable
    assert client.asked == 0


def test_write_that_timed_out_in_transit_has_an_unknown_outcome(
    clock: FakeClock, drive: Drive
) -> None:
    client = Client(ReadTimeoutError(**URL), clock)
    client.took = 3.0
    with deadline.request(), pytest.raises(FateUnknown):
        drive(write_item(client))
    assert client.asked == 1


def test_no_pause_is_begun_after_which_no_time_is_left(clock: FakeClock, drive: Drive) -> None:
    client = Client(ConnectTimeoutError(**URL), clock)
    client.took = 2.95
    paused: list[float] = []
    never: Any = client

    def pause(seconds: float) -> Pause:
        paused.append(seconds)
        return Pause(0)

    table = Table(never, name="sessions", pause=pause)
    with pytest.raises(NotApplied):
        drive(table.put_once(ITEM))
    assert paused == []


def test_refused_write_is_not_repeated_after_a_pause_that_used_all_time(
    clock: FakeClock, drive: Drive
) -> None:
    client: Any = Client(error_response("ThrottlingException"), clock)

    def pause(_: float) -> Pause:
        clock.advance(2.95)  # The machine was busy, or asleep.
        return Pause(0)

    with pytest.raises(NotApplied):
        drive(Table(client, name="sessions", pause=pause).put_once(ITEM))
    assert client.asked == 1


def test_pauses_before_a_refused_write_are_bounded_one_by_one(clock: FakeClock) -> None:
    client: Any = Client(error_response("ThrottlingException"), clock)
    paused: list[float] = []

    def pause(seconds: float) -> Pause:
        paused.append(seconds)
        return Pause(0)

    with pytest.raises(NotApplied):
        run_sync(Table(client, name="sessions", pause=pause).put_once(ITEM))
    assert len(paused) == len(PAUSES)
    assert all(0 <= taken <= longest for taken, longest in zip(paused, PAUSES, strict=True))


@pytest.mark.parametrize(
    "send",
    [write_item, repeat_write],
    ids=["once", "what may be applied twice"],
)
def test_all_attempts_of_a_write_are_one_call(
    send: Callable[[Client], Coroutine[Any, Any, None]], clock: FakeClock, drive: Drive
) -> None:
    client = Client(ConnectTimeoutError(**URL), clock)
    client.took = 1.0
    with pytest.raises(TableUnavailable):
        drive(send(client))
    assert client.asked == 3


@pytest.mark.parametrize(("took", "asked"), [(0.0, REPEATS_MAX), (2.0, 2)])
def test_what_may_be_applied_twice_is_sent_again_while_time_is_left(
    clock: FakeClock, drive: Drive, took: float, asked: int
) -> None:
    client = Client(ReadTimeoutError(**URL), clock)
    client.took = took
    with pytest.raises(TableUnavailable):
        drive(repeat_write(client))
    assert client.asked == asked


def test_what_finds_no_thread_in_time_is_not_sent_and_the_table_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_late(_: float) -> None:
        raise deadline.OutOfTime

    monkeypatch.setattr(deadline, "charge_queueing", too_late)
    client = Client(error_response("ThrottlingException"), FakeClock())
    with pytest.raises(TableUnavailable, match="Too many wait"):
        asyncio.run(table_of(client).get("a"))
    with pytest.raises(TableUnavailable) as raised:
        asyncio.run(write_item(client))
    assert not isinstance(raised.value, FateUnknown)
    assert client.asked == 0
