"""Work that is written once, and done by a thread or by an event loop.

A function whose work waits for others is a generator of steps: it yields what it waits for (a
`Wait`), is sent the outcome or thrown the error, and returns its result. `run` does it in this
thread, `arun` in the event loop; neither shows inside. A cancelled task ends its steps at the
one that they wait in, with GeneratorExit's rules: what they hold is given back by `finally`.
No lock of threads may be held across a yield: others in the same loop would wait for ever.
An error that the steps have dealt with is no context of what they raise later: its frames would
come with it into every traceback.

What has verbs for both has two faces: `noun.steps.verb(…)` gives the steps, for those who are
steps themselves, and `noun.verb(…)` does them in this thread (`blocking`).
"""

import asyncio
from collections.abc import Callable, Generator
from functools import wraps
from time import monotonic, sleep
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.executors import executor, in_thread
from sessions_kms.exceptions import StoreUnavailable

CALLS: Final = 32  # that block, of one pool, of all event loops of the process at one time

P = ParamSpec("P")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")


class Wait(Protocol):
    """Something to wait for: in a thread, or in an event loop. Both raise what there is to."""

    def blocking(self) -> Any:
        """Wait in this thread, and return the outcome."""
        ...

    async def looping(self) -> Any:
        """Wait in the event loop, and return the outcome."""
        ...


Steps: TypeAlias = Generator[Wait, Any, T]


class Call:
    """A call that blocks; an event loop has it made in a thread. Its arguments may be secrets.

    ``pool`` names the threads, for calls that may wait for others of their kind.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        *,
        pool: str = "sessions_kms-calls",
    ) -> None:
        self.function = function
        self.args = args
        self._pool = pool

    def blocking(self) -> Any:
        """Make it here."""
        return self.function(*self.args)

    async def looping(self) -> Any:
        """Make it in a thread of a bounded pool, with this task's context.

        The time until it begins is on the request's account. Raises StoreUnavailable where it
        would begin too late.
        """
        return await in_thread(executor(self._pool, CALLS), self._in_time, monotonic())

    def _in_time(self, asked_at: float) -> Any:
        try:
            deadline.queued(monotonic() - asked_at)
        except deadline.OutOfTime:
            raise StoreUnavailable("Too many wait for the session store.") from None
        return self.blocking()


class Pause(NamedTuple):
    """So many seconds; ``sleep`` is how a thread sleeps."""

    seconds: float
    sleep: Callable[[float], None] = sleep

    def blocking(self) -> None:
        """Sleep in this thread."""
        self.sleep(self.seconds)

    async def looping(self) -> None:
        """Let the event loop go on meanwhile."""
        await asyncio.sleep(self.seconds)


def run(steps: Steps[T]) -> T:
    """Do the work in this thread; return its result, or raise its error."""
    __traceback_hide__ = True
    try:
        wait = next(steps)
        while True:
            error, outcome = None, None
            try:
                outcome = wait.blocking()
            except BaseException as exc:  # noqa: BLE001 - the steps decide
                error = exc
            # Outside the handler: what the steps raise next is not to lead to this error.
            try:
                wait = steps.send(outcome) if error is None else steps.throw(error)
            finally:
                error = None  # Its traceback has this frame: each would keep the other.
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(steps: Steps[T]) -> T:
    """Do the work in the event loop; return its result, or raise its error.

    A cancellation is thrown into the steps where they wait, and raised once they have ended.
    """
    __traceback_hide__ = True
    try:
        wait = next(steps)
        while True:
            error, outcome = None, None
            try:
                outcome = await wait.looping()
            except BaseException as exc:  # noqa: BLE001 - the steps decide
                error = exc
            # Outside the handler: what the steps raise next is not to lead to this error.
            try:
                wait = steps.send(outcome) if error is None else steps.throw(error)
            finally:
                error = None  # Its traceback has this frame: each would keep the other.
    except StopIteration as end:
        result: T = end.value
        return result


class HasSteps(Protocol[S_co]):
    """Something whose methods are those of ``steps``, each done in the thread that calls it."""

    @property
    def steps(self) -> S_co: ...


def blocking(
    method: Callable[Concatenate[S, P], Steps[T]],
) -> Callable[Concatenate[HasSteps[S], P], T]:
    """Return the method that does what one of ``steps`` does, in this thread."""
    name = method.__name__

    @wraps(method)
    def done(face: HasSteps[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        __traceback_hide__ = True
        steps: Steps[T] = getattr(face.steps, name)(*args, **kwargs)
        return run(steps)

    return done
