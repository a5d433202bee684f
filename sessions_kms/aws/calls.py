"""One call of a service of AWS: its attempts, its deadline, and the circuit that they share.

Takes what asks once, and returns its answer or raises boto's error. Knows no operation.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from sessions_kms.aws import clients, retrying
from sessions_kms.aws.circuit import Circuit, CircuitOpen, Outcome
from sessions_kms.aws.clock import offset_if_refused, signing_with
from sessions_kms.aws.retrying import (
    ATTEMPTS,
    UNTRIED,
    Failure,
    Retries,
    RetriesOfCall,
    seconds_told,
)
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Pause, Wait

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

Answer = dict[str, Any]

# boto is imported at the first call, not with the engine: it costs more than Django's own start.


# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
SIGNATURE_REFUSED = frozenset(
    {
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)


class NotBegun(Exception):
    """An attempt found no thread in time."""


class Service:
    """What this process knows of one service: its circuit, and what retries may yet cost."""

    def __init__(self, name: str) -> None:
        self.circuit = Circuit(name)
        self._retries = Retries(name)

    async def ask(
        self, ask: Wait, *, probe: Callable[[], Wait] | None = None, attempts: int = ATTEMPTS
    ) -> Answer:
        """Ask until there is an answer, as often and as long as the caller's `deadline.call` lets.

        ``probe`` gives what asks for something that changes nothing, the same thing by default.
        Raises what boto raises, GarbledAnswer, NotBegun, OutOfTime, or CircuitOpen.
        """
        if self.circuit.is_open:
            await self.circuit.passed(partial(_probed, probe, ask))
            if not deadline.has_time_for(0):  # It was the probe, which took what there was.
                raise deadline.OutOfTime
        try:
            answer: Answer = await ask
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is judged below
            failure: Exception | None = exc
        else:  # Nearly always: nothing was made yet for what else may become of a call.
            if self.circuit.in_a_row:
                self.circuit.answered()
            self._retries.answered(UNTRIED)
            return answer
        try:
            return await self._again(ask, failure, probe, attempts)
        finally:
            failure = None  # Its traceback has this frame: each would keep the other.

    async def _again(
        self,
        ask: Wait,
        failure: Exception | None,
        probe: Callable[[], Wait] | None,
        attempts: int,
    ) -> Answer:
        """Go on from a first attempt that failed."""
        retries = self._retries.of_call(attempts)
        while True:
            try:
                answer = await _signed_in_time(ask, failure)
            except Exception as exc:
                failure = None
                self.circuit.heard(_outcome(exc), partial(_probed, probe, ask))
                pause = self._pause_after(exc, retries)
                if pause is None:
                    raise
            else:
                self.circuit.answered()
                retries.answered()
                return answer
            await Pause(pause, retrying.sleep)

    def _pause_after(self, exc: Exception, retries: RetriesOfCall) -> float | None:
        """Return the seconds until the next attempt; None where none is to be or can be made."""
        failure = _failure(exc)
        if failure is None or self.circuit.is_open:
            return None
        pause = retries.pause_after(failure)
        return pause if pause is not None and deadline.has_time_for(pause) else None


async def _signed_in_time(ask: Wait, failure: Exception | None) -> Answer:
    """Ask, and once more where the signature was refused for its time: by that answer's `Date`.

    ``failure`` is how it ended if it was asked already.
    """
    answer: Answer
    if failure is None:
        try:
            answer = await ask
            return answer
        except Exception as exc:  # noqa: BLE001 - it is raised below
            failure = exc
    try:
        offset = _offset_of_refusal(failure)
        if offset is None:
            raise failure
    finally:
        failure = None  # Its traceback has this frame: each would keep the other.
    with signing_with(offset):
        answer = await ask
        return answer


def _offset_of_refusal(exc: Exception) -> float | None:
    if not is_client_error(exc) or error_code(exc) not in SIGNATURE_REFUSED:
        return None
    headers = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return offset_if_refused(clients.clock(), headers.get("date"))


async def _probed(probe: Callable[[], Wait] | None, ask: Wait) -> "Outcome":
    """Ask what a probe is, the same thing without one."""
    try:
        await (probe() if probe else ask)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is how that ended
        return _outcome(exc)
    return Outcome.ANSWERED


def _outcome(exc: Exception) -> Outcome:
    from botocore import exceptions

    if isinstance(exc, exceptions.ReadTimeoutError | exceptions.ConnectTimeoutError | TimeoutError):
        return Outcome.TIMED_OUT
    return Outcome.ANSWERED if is_client_error(exc) else Outcome.FAILED


def _failure(exc: Exception) -> Failure | None:
    """Return how an attempt failed; None where the answer that came is to blame."""
    from botocore import exceptions

    if is_client_error(exc):
        told: Mapping[str, Any] = exc.response.get("ResponseMetadata", {})
        wait = seconds_told(told.get("HTTPHeaders", {}))
        return Failure(error_code(exc), told.get("HTTPStatusCode"), wait)
    unanswered = (exceptions.ConnectionError, exceptions.HTTPClientError, retrying.GarbledAnswer)
    return Failure() if isinstance(exc, unanswered) else None


def is_client_error(exc: Exception) -> "TypeGuard[ClientError]":
    """Tell whether AWS answered with an error of its own, which has a code."""
    from botocore.exceptions import ClientError

    return isinstance(exc, ClientError)


def was_not_sent(exc: Exception) -> bool:
    """Tell whether a single attempt that failed so did not reach AWS: it was not even begun, or
    there was no connection.
    """
    from botocore import exceptions

    unsent = (exceptions.ConnectTimeoutError, exceptions.EndpointConnectionError)
    return isinstance(exc, (*unsent, CircuitOpen, NotBegun, deadline.OutOfTime))


def error_code(exc: "ClientError") -> str:
    """Return the name that AWS gave to an error."""
    return str(exc.response.get("Error", {}).get("Code", ""))


_services: dict[str, Service] = {}


def service(name: str) -> Service:
    """Return what this process knows of a service."""
    return _services.get(name) or _services.setdefault(name, Service(name))


def hanging() -> list[str]:
    """Return the services whose circuits are open."""
    return sorted(name for name, known in _services.items() if known.circuit.is_open)


def reset() -> None:
    """Forget what is known: the settings changed, or this is a forked child."""
    for known in _services.values():
        known.circuit.forget()
    _services.clear()
