"""Time limits of an attempt, a call and a request, what remains of them, and elapsed time.

In seconds, by the monotonic clock. Knows nothing of sockets or AWS: code that waits gets its
timeout here.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from threading import Lock, RLock
from time import monotonic
from typing import Any, Final, NamedTuple

PAUSE: Final = 0.02  # seconds at most before the second try, twice as many before each further one
PAUSE_MAX: Final = 0.5
REQUEST: Final = 4.0  # seconds that one request may wait for the store, in sum
LEAST: Final = 0.1  # seconds without which an attempt is not begun
RETRY_BUDGET: Final = REQUEST  # seconds for the retries of one save, outside of requests too


class Moment(NamedTuple):
    """A point in time on both clocks, in seconds."""

    wall: float
    steady: float


class Stopwatch:
    """Reads two clocks and believes the one by which more time has passed.

    The wall clock can be set back; the monotonic one stands still while the
    machine is suspended. Neither may make a data key live longer.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady

    def now(self) -> Moment:
        """Return this moment."""
        return Moment(self._wall(), self._steady())

    def since(self, moment: Moment) -> float:
        """Return the seconds that have passed since a moment, at the most."""
        return max(self._wall() - moment.wall, self._steady() - moment.steady)


class RetryBudget:
    """The time that one of them has."""

    __slots__ = ("_ends", "_pause", "_steady")

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._ends = steady() + RETRY_BUDGET
        self._pause = PAUSE

    def remaining(self) -> float:
        """Return the seconds that are left: the request's own, where those are fewer."""
        left, of_request = self._ends - self._steady(), budget_left()
        return left if of_request is None else min(left, of_request)

    @property
    def is_exhausted(self) -> bool:
        """Return True if no further try is to begin."""
        left = budget_left()
        if left is not None and left < LEAST:
            return True
        return self._ends - self._steady() < LEAST

    def next_pause(self) -> float:
        """Return the seconds to wait before the next try, on the request's account."""
        longest, self._pause = self._pause, min(2 * self._pause, PAUSE_MAX)
        return max(0.0, min(random.uniform(0, longest), self.remaining()))  # noqa: S311 - only spreads


class Limits(NamedTuple):
    """The seconds that waits for a service may take.

    ``connect`` is for the name, the connection and TLS together, ``first_byte`` for the
    silence before an answer, ``attempt`` for the whole of one, ``call`` for all attempts at
    it and the pauses between them.
    """

    connect: float
    first_byte: float
    attempt: float
    call: float


HASTY = Limits(connect=1, first_byte=2, attempt=2.5, call=3)


PATIENT: Final = Limits(60, 60, 60, 60)  # for what no visitor waits for


class OutOfTime(TimeoutError):
    """Nothing is left of the time that this wait has."""

    def __init__(self) -> None:
        super().__init__("timed out")


class Budget:
    """What one request may still wait for the store, in sum; not thread-safe to the millisecond.

    It ends with the request: what goes on afterwards, such as a stream, has none.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._over = False

    def left(self) -> float | None:
        """Return the seconds that are left; None where there is no bound any more."""
        return None if self._over else self._left

    def spend(self, seconds: float) -> None:
        """Take seconds from it."""
        self._left -= seconds

    def end(self) -> None:
        """Have it bind nobody any longer."""
        self._over = True


_budget: ContextVar[Budget | None] = ContextVar("sessions_kms_budget", default=None)


_ends: ContextVar[float | None] = ContextVar("sessions_kms_call_ends", default=None)


_attempt: ContextVar["Attempt | None"] = ContextVar("sessions_kms_attempt", default=None)


@contextmanager
def request(seconds: float = REQUEST) -> Iterator[None]:
    """Bound the waits for the store within a request; in an outer one, that one's bound holds."""
    if budget_left() is not None:
        yield
        return
    budget = Budget(seconds)
    token = _budget.set(budget)
    try:
        yield
    finally:
        _put_back(token)
        budget.end()


def budget_left() -> float | None:
    """Return what the request may still wait; None outside of requests, in commands say."""
    budget = _budget.get()
    return None if budget is None else budget.left()


@contextmanager
def waiting() -> Iterator[float | None]:
    """Wait on the request's account, for the seconds given at most. Raises OutOfTime at once
    where nothing is left: what begins too late is not begun.
    """
    budget, left = _budget.get(), budget_left()
    if left is not None and left < LEAST:
        raise OutOfTime
    began = monotonic()
    try:
        yield left
    finally:
        if budget is not None:  # Not that of whoever closes what nobody ended.
            budget.spend(monotonic() - began)


def spend(seconds: float) -> None:
    """Charge the request for having waited, in a queue say."""
    if (budget := _budget.get()) is not None:
        budget.spend(seconds)


def charge_queueing(seconds: float) -> None:
    """Charge the request for so many seconds in a queue, unless the call that it is in does.

    Raises OutOfTime where what was queued comes too late to begin, outside of requests, too.
    """
    left = call_left()
    if left is None:
        spend(seconds)
        left = budget_left()
    if (REQUEST - seconds if left is None else left) < LEAST:
        raise OutOfTime


def acquire(lock: "Lock | RLock", seconds: float | None = None) -> bool:
    """Take a lock, on the request's account and for so many seconds at most; False if not.

    Only a lock that somebody holds costs time.
    """
    if lock.acquire(blocking=False):
        return True
    try:
        with waiting() as left:
            return lock.acquire(timeout=_less(seconds, left, or_else=-1))
    except OutOfTime:
        return False


def _less(one: float | None, other: float | None, *, or_else: float) -> float:
    return min([each for each in (one, other) if each is not None], default=or_else)


class call:  # noqa: N801 - used as what it stands beside, which are generators
    """Bound a call, with all of its attempts, by so many seconds and by what the request has.

    A call within another, whose time is counted there, ends with that at the latest. Raises
    OutOfTime where nothing is left.
    """

    __slots__ = ("_began", "_budget", "_seconds", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        now, ends = monotonic(), _ends.get()
        self._began = now
        self._budget = budget = _budget.get() if ends is None else None
        if ends is not None:
            left: float | None = ends - now
        else:
            left = None if budget is None else budget.left()
        if left is not None and left < LEAST:
            raise OutOfTime
        self._token = _ends.set(now + (self._seconds if left is None else min(self._seconds, left)))

    def __exit__(self, *_: object) -> None:
        _put_back(self._token)
        if self._budget is not None:
            self._budget.spend(monotonic() - self._began)


def _put_back(token: Token[Any]) -> None:
    try:  # noqa: SIM105 - each call comes here
        token.var.reset(token)
    except ValueError:
        pass  # An abandoned coroutine is closed in whatever context is there.


def call_left() -> float | None:
    """Return what is left of the call; None outside of one."""
    ends = _ends.get()
    return None if ends is None else ends - monotonic()


def has_time_for(pause: float) -> bool:
    """Return True if another attempt could be made in this call after a pause."""
    left = call_left()
    return left is None or pause + LEAST <= left


class Attempt:
    """One attempt at a call, from looking up the name to the last byte."""

    __slots__ = ("_began", "_ends", "_limits", "heard")

    def __init__(self, limits: Limits) -> None:
        self._began, ends = monotonic(), _ends.get()
        self._limits = limits
        longest = self._began + limits.attempt
        self._ends = longest if ends is None else min(longest, ends)
        self.heard = False  # whether the first byte of the answer has come

    def to_connect(self) -> float:
        """Return the seconds left to connect. Raises OutOfTime."""
        return _positive(min(self._began + self._limits.connect, self._ends))

    def to_write(self) -> float:
        """Return the seconds left to send something. Raises OutOfTime."""
        return _positive(self._ends)

    def to_read(self) -> float:
        """Return the seconds left to receive something. Raises OutOfTime."""
        left = _positive(self._ends)
        return left if self.heard else min(left, self._limits.first_byte)

    def is_over(self) -> bool:
        """Return True if nothing is left of it."""
        return monotonic() >= self._ends


def _positive(moment: float) -> float:
    left = moment - monotonic()
    if left <= 0:
        raise OutOfTime
    return left


@contextmanager
def attempting(limits: Limits) -> Iterator[Attempt]:
    """Begin an attempt, whose sockets ask for what is left of it. Raises OutOfTime."""
    made = Attempt(limits)
    made.to_write()
    token = _attempt.set(made)
    try:
        yield made
    finally:
        _attempt.reset(token)


def attempt() -> Attempt | None:
    """Return the attempt that this thread is making, if any."""
    return _attempt.get()
