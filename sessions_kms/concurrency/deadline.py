"""Time limits of an attempt, a call and a request, and the time that remains.

In seconds, by the monotonic clock. This module does not depend on sockets or AWS: code that waits
gets its timeout here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from threading import Lock, RLock
from time import monotonic
from typing import Any, Final, NamedTuple

REQUEST: Final = 4.0  # total seconds that one request may wait for the store
LEAST: Final = 0.1  # seconds that must remain for another attempt


class Moment(NamedTuple):
    """A point in time on both clocks, in seconds."""

    wall: float
    steady: float


class Stopwatch:
    """Reads two clocks, and uses the one by which more time has passed.

    The wall clock can be set back; the monotonic clock stops while the machine is suspended.
    Neither may extend the life of a data key.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady

    def now(self) -> Moment:
        """Return the current time."""
        return Moment(self._wall(), self._steady())

    def since(self, moment: Moment) -> float:
        """Return the seconds that have passed since then, by the clock that shows more."""
        return max(self._wall() - moment.wall, self._steady() - moment.steady)


class Limits(NamedTuple):
    """Timeouts of calls to a service, in seconds.

    ``connect`` includes name lookup, connection and TLS; ``first_byte`` is the wait for the first
    byte of a response, ``attempt`` one whole attempt, ``call`` all attempts and the pauses between
    them.
    """

    connect: float
    first_byte: float
    attempt: float
    call: float


HASTY = Limits(connect=1, first_byte=2, attempt=2.5, call=3)
PATIENT: Final = Limits(60, 60, 60, 60)  # for calls that no visitor waits for


class OutOfTime(TimeoutError):
    """The time budget of a wait is used up."""

    def __init__(self, *_: object) -> None:  # A copy is made of the message.
        super().__init__("timed out")


class Budget:
    """The remaining seconds that one request may wait for the store.

    Waits at the same time, of several tasks or threads, count once. It ends with the request: work
    that continues afterwards, such as a stream, has no budget.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._over = False
        self._waits = 0  # that are going on
        self._since = 0.0  # when the first of them began
        self._lock = RLock()  # An abandoned coroutine may be closed at any point.

    def left(self) -> float | None:
        """Return the remaining seconds; None if the request has ended."""
        if self._over:
            return None
        with self._lock:
            return self._left - (monotonic() - self._since if self._waits else 0)

    def begin_wait(self) -> None:
        """Charge the time from now on, until `end_wait`."""
        with self._lock:
            if not self._waits:
                self._since = monotonic()
            self._waits += 1

    def end_wait(self) -> None:
        """Charge no more, unless another wait is going on."""
        with self._lock:
            self._waits -= 1
            if not self._waits:
                self._left -= monotonic() - self._since

    def spend(self, seconds: float) -> None:
        """Subtract seconds."""
        with self._lock:
            self._left -= seconds

    def end(self) -> None:
        """Stop limiting waits."""
        self._over = True


_budget: ContextVar[Budget | None] = ContextVar("sessions_kms_budget", default=None)
_ends: ContextVar[float | None] = ContextVar("sessions_kms_call_ends", default=None)
_attempt: ContextVar["Attempt | None"] = ContextVar("sessions_kms_attempt", default=None)


@contextmanager
def request(seconds: float = REQUEST) -> Iterator[None]:
    """Limit the waits for the store within a request; a nested block uses the outer budget."""
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
    """Return the seconds that the request may still wait; None outside of requests."""
    budget = _budget.get()
    return None if budget is None else budget.left()


@contextmanager
def waiting() -> Iterator[float | None]:
    """Charge a wait to the request; yield the maximum seconds.

    Raises OutOfTime at once if too little time is left to start the wait.
    """
    budget, left = _budget.get(), budget_left()
    if left is not None and left < LEAST:
        raise OutOfTime
    if budget is None:
        yield left
        return
    budget.begin_wait()
    try:
        yield left
    finally:  # An abandoned block may be closed in another context: charge its own budget.
        budget.end_wait()


def spend(seconds: float) -> None:
    """Charge the request for a wait, for example in a queue."""
    if (budget := _budget.get()) is not None:
        budget.spend(seconds)


def charge_queueing(seconds: float) -> None:
    """Charge the request for seconds in a queue, unless an enclosing call charges them.

    Raises OutOfTime if it is too late to start the work, also outside of requests.
    """
    left = call_left()
    if left is None:
        spend(seconds)
        left = budget_left()
    if (REQUEST - seconds if left is None else left) < LEAST:
        raise OutOfTime


def acquire(lock: "Lock | RLock", seconds: float | None = None) -> bool:
    """Acquire a lock within ``seconds``, charged to the request; return False on timeout.

    Acquiring a free lock costs no time.
    """
    if lock.acquire(blocking=False):
        return True
    try:
        with waiting() as left:
            return lock.acquire(timeout=_min_given(seconds, left, or_else=-1))
    except OutOfTime:
        return False


def _min_given(one: float | None, other: float | None, *, or_else: float) -> float:
    return min([each for each in (one, other) if each is not None], default=or_else)


class call:  # noqa: N801 - used like the context managers beside it, which are functions
    """Limit a call, with all its attempts, to ``seconds`` and to the budget of the request.

    A nested call ends no later than the outer one, which charges its time. Raises OutOfTime, or
    another ``error``, if no time is left.
    """

    __slots__ = ("_budget", "_error", "_seconds", "_token")

    def __init__(self, seconds: float, error: type[Exception] = OutOfTime) -> None:
        self._seconds = seconds
        self._error = error

    def __enter__(self) -> None:
        now, ends = monotonic(), _ends.get()
        self._budget = budget = _budget.get() if ends is None else None
        if ends is not None:
            left: float | None = ends - now
        else:
            left = None if budget is None else budget.left()
        if left is not None and left < LEAST:
            raise self._error
        if budget is not None:
            budget.begin_wait()
        self._token = _ends.set(now + (self._seconds if left is None else min(self._seconds, left)))

    def __exit__(self, *_: object) -> None:
        _put_back(self._token)
        if self._budget is not None:
            self._budget.end_wait()


def _put_back(token: Token[Any]) -> None:
    try:  # noqa: SIM105 - in the path of every call
        token.var.reset(token)
    except ValueError:
        pass  # An abandoned coroutine can be closed in another context.


def call_left() -> float | None:
    """Return the remaining seconds of the call; None outside of one."""
    ends = _ends.get()
    return None if ends is None else ends - monotonic()


def has_time_for(pause: float) -> bool:
    """Return True if this call has time for a pause and another attempt."""
    left = call_left()
    return left is None or pause + LEAST <= left


class Attempt:
    """One attempt at a call, from looking up the name to the last byte."""

    __slots__ = ("_began", "_ends", "_limits", "has_response")

    def __init__(self, limits: Limits) -> None:
        self._began, ends = monotonic(), _ends.get()
        self._limits = limits
        longest = self._began + limits.attempt
        self._ends = longest if ends is None else min(longest, ends)
        self.has_response = False  # whether the first byte of the response has arrived

    def to_connect(self) -> float:
        """Return the seconds left to connect. Raises OutOfTime."""
        return _positive(min(self._began + self._limits.connect, self._ends))

    def to_write(self) -> float:
        """Return the seconds left to send something. Raises OutOfTime."""
        return _positive(self._ends)

    def to_read(self) -> float:
        """Return the seconds left to receive something. Raises OutOfTime."""
        left = _positive(self._ends)
        return left if self.has_response else min(left, self._limits.first_byte)

    def is_over(self) -> bool:
        """Return True if its time is used up."""
        return monotonic() >= self._ends


def _positive(moment: float) -> float:
    left = moment - monotonic()
    if left <= 0:
        raise OutOfTime
    return left


@contextmanager
def attempting(limits: Limits) -> Iterator[Attempt]:
    """Start an attempt, which determines the timeouts of sockets. Raises OutOfTime."""
    new = Attempt(limits)
    new.to_write()
    token = _attempt.set(new)
    try:
        yield new
    finally:
        _attempt.reset(token)


def attempt() -> Attempt | None:
    """Return the attempt that this thread is making, if any."""
    return _attempt.get()
