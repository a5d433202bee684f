"""One call of an AWS service: its attempts, its deadline, and the circuit breaker they share.

Takes an awaitable that makes one attempt; returns its response or raises boto's error. Retries
follow boto's standard mode. This module does not depend on operations.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import random
from collections.abc import Callable
from functools import partial
from threading import Lock
from time import sleep
from typing import Any, Final

from sessions_kms.aws.circuit import Circuit, Outcome
from sessions_kms.aws.clock import current_clock, offset_if_refused, signing_with
from sessions_kms.aws.errors import Failure, error_code, failure_of, is_client_error, is_timeout
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Pause, Wait

ATTEMPTS: Final = 3
THROTTLED_PAUSE: Final = 1.0  # seconds at most before the second attempt, twice that later
PAUSE: Final = 0.05  # the same for other failures; boto's limit of 20 s matters from the sixth on
PAUSES: Final = {"dynamodb": 0.025}  # the same for services that differ
RETRY_AFTER_MAX: Final = 5.0  # seconds that a service may add to a pause
# Tokens of boto's standard mode: the quota, and the cost of retries.
QUOTA, THROTTLED_COST, RETRY_COST, NO_RETRY = 500, 5, 14, 1

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
SIGNATURE_ERRORS: Final = frozenset(
    {
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)

Response = dict[str, Any]


class Service:
    """What this process knows about one service: its circuit breaker and its retry quota."""

    def __init__(self, name: str) -> None:
        self.circuit = Circuit(name)
        self.quota = RetryQuota(name)

    async def call(
        self, request: Wait, *, probe: Callable[[], Wait] | None = None, attempts: int = ATTEMPTS
    ) -> Response:
        """Send a request until there is a response, within the caller's `deadline.call`.

        ``probe`` makes a request that changes nothing, this one by default. Raises what boto
        raises, InvalidResponse, NotStarted, OutOfTime, or CircuitOpen.
        """
        if self.circuit.is_open:
            await self.circuit.check(partial(_probe, probe, request))
            if not deadline.has_time_for(0):  # The call was the probe, and used up the time.
                raise deadline.OutOfTime
        try:
            response: Response = await request
        except Exception as exc:  # noqa: BLE001 - `_retry` decides
            failure: Exception | None = exc
        else:
            if self.circuit.timeouts:
                self.circuit.record_response()
            if self.quota.tokens != QUOTA:
                self.quota.refill(NO_RETRY)
            return response
        try:
            return await self._retry(request, failure, probe, attempts)
        finally:
            failure = None  # Its traceback has this frame: each would keep the other alive.

    async def _retry(
        self,
        request: Wait,
        failure: Exception | None,
        probe: Callable[[], Wait] | None,
        attempts: int,
    ) -> Response:
        """Continue after a first attempt that failed."""
        retries = Retries(self.quota, attempts)
        while True:
            try:
                response = await _send_correctly_signed(request, failure)
            except Exception as exc:
                failure = None
                self.circuit.record(_outcome_of(exc), partial(_probe, probe, request))
                pause = self._pause_after(exc, retries)
                if pause is None:
                    raise
            else:
                self.circuit.record_response()
                retries.succeed()
                return response
            await Pause(pause, sleep)

    def _pause_after(self, exc: Exception, retries: "Retries") -> float | None:
        """Return the seconds until the next attempt; None for no further attempt."""
        failure = failure_of(exc)
        if failure is None or self.circuit.is_open:
            return None
        pause = retries.pause_after(failure)
        return pause if pause is not None and deadline.has_time_for(pause) else None


class RetryQuota:
    """The retries that all calls of one service may still make: each costs tokens.

    Successful calls refill it, so that a service in trouble does not get three times the calls.
    """

    def __init__(self, service: str, *, chance: Callable[[], float] = random.random) -> None:
        self.pause = PAUSES.get(service, PAUSE)
        self.chance = chance
        self.tokens = QUOTA
        self._lock = Lock()

    def spend(self, cost: int) -> bool:
        """Take tokens; False where there are too few."""
        with self._lock:
            if cost > self.tokens:
                return False
            self.tokens -= cost
            return True

    def refill(self, tokens: int) -> None:
        """Add tokens, up to the quota."""
        with self._lock:
            self.tokens = min(QUOTA, self.tokens + tokens)


class Retries:
    """The retries of one call, whose attempts are made one after the other."""

    __slots__ = ("_attempts", "_cost", "_quota", "_tried")

    def __init__(self, quota: RetryQuota, attempts: int = ATTEMPTS) -> None:
        self._quota = quota
        self._attempts = attempts
        self._tried = 0
        self._cost = 0  # of the last retry

    def pause_after(self, failure: Failure) -> float | None:
        """Return the seconds from a failed attempt to the next; None for no further attempt."""
        self._tried += 1
        if self._tried >= self._attempts or not failure.is_transient:
            return None
        cost = THROTTLED_COST if failure.is_throttled else RETRY_COST
        if not self._quota.spend(cost):
            return None
        self._cost = cost
        longest = THROTTLED_PAUSE if failure.is_throttled else self._quota.pause
        pause: float = self._quota.chance() * longest * 2 ** (self._tried - 1)
        return max(pause, min(failure.retry_after or 0.0, pause + RETRY_AFTER_MAX))

    def succeed(self) -> None:
        """Give back what the last retry cost."""
        self._quota.refill(self._cost or NO_RETRY)


async def _send_correctly_signed(request: Wait, failure: Exception | None) -> Response:
    """Send a request, and again if AWS rejected the time of its signature: by AWS's `Date`.

    ``failure`` is how it ended if it was sent already.
    """
    response: Response
    if failure is None:
        try:
            response = await request
            return response
        except Exception as exc:  # noqa: BLE001 - it is raised below
            failure = exc
    try:
        offset = _offset_of_rejection(failure)
        if offset is None:
            raise failure
    finally:
        failure = None  # Its traceback has this frame: each would keep the other alive.
    with signing_with(offset):
        response = await request
        return response


def _offset_of_rejection(exc: Exception) -> float | None:
    if not is_client_error(exc) or error_code(exc) not in SIGNATURE_ERRORS:
        return None
    headers = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return offset_if_refused(current_clock(), headers.get("date"))


async def _probe(probe: Callable[[], Wait] | None, request: Wait) -> Outcome:
    try:
        await (probe() if probe else request)
    except Exception as exc:  # noqa: BLE001 - any error is an outcome
        return _outcome_of(exc)
    return Outcome.RESPONSE


def _outcome_of(exc: Exception) -> Outcome:
    if is_timeout(exc):
        return Outcome.TIMEOUT
    return Outcome.RESPONSE if is_client_error(exc) else Outcome.FAILURE


_services: dict[str, Service] = {}


def service(name: str) -> Service:
    """Return what this process knows about a service."""
    return _services.get(name) or _services.setdefault(name, Service(name))


def open_circuits() -> list[str]:
    """Return the services whose circuits are open."""
    return sorted(name for name, known in _services.items() if known.circuit.is_open)


def reset() -> None:
    """Forget all services: the settings changed, or this is a forked child."""
    for known in _services.values():
        known.circuit.stop_probing()
    _services.clear()
