"""The outcome of a call, by the outcomes of its attempts."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from sessions_kms.aws import calls
from sessions_kms.aws.calls import Service
from sessions_kms.aws.circuit import TIMEOUTS_MAX
from sessions_kms.concurrency.waits import BlockingCall, run_sync


class Broken(Exception):
    """What nobody knows."""


class Ends:
    """Ends each attempt as given, and the last one successfully."""

    def __init__(self, *ends: Callable[[], Exception]) -> None:
        self.ends = list(ends)

    def __call__(self) -> dict[str, Any]:
        if self.ends:
            raise self.ends.pop(0)()
        return {}


def timeout_error() -> Exception:
    return ReadTimeoutError(endpoint_url="aws")


def rejection() -> Exception:
    return ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetItem")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "sleep", lambda _: None)


@pytest.fixture
def service() -> Service:
    return Service("dynamodb")


def ask(service: Service, *ends: Callable[[], Exception], attempts: int = 1) -> None:
    with suppress(ReadTimeoutError, ClientError, Broken):
        run_sync(service.call(BlockingCall(Ends(*ends)), attempts=attempts))


@pytest.mark.parametrize(
    ("ends", "attempts"),
    [((), 1), ((rejection,), 1), ((timeout_error,), 2)],
    ids=["at once", "by an error", "at the second attempt"],
)
def test_response_between_time_outs_keeps_the_circuit_closed(
    ends: tuple[Callable[[], Exception], ...], attempts: int, service: Service
) -> None:
    for _ in range(TIMEOUTS_MAX - 2):
        ask(service, timeout_error)
    assert service.circuit.timeouts == TIMEOUTS_MAX - 2
    ask(service, *ends, attempts=attempts)
    assert (service.circuit.timeouts, service.circuit.is_open) == (0, False)


@contextmanager
def nothing_collected() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("end", [timeout_error, rejection, Broken])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_no_error_outlives_its_call(
    end: Callable[[], Exception], times: int, attempts: int, service: Service
) -> None:
    """Its traceback has the frames of the call, and these what was asked and answered."""
    made: list[weakref.ref[Exception]] = []

    def note() -> Exception:
        error = end()
        made.append(weakref.ref(error))
        return error

    with nothing_collected():
        ask(service, *[note] * times, attempts=attempts)
        assert made
        assert [each() for each in made] == [None] * len(made)
