"""Those of one process who change the same thing: one works for all, the others wait.

Names enter, with what each wants done; who is to work leaves. Whoever leads sees what all want,
settles what it can, and gives the lead to the one who has waited longest. Threads and tasks of
event loops wait in one lane. Knows nothing of sessions or of tables, and keeps nothing of a name
that nobody changes.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.backoff import Patience
from sessions_kms.concurrency.waking import Wakeup, hold, is_held_here, let_go
from sessions_kms.exceptions import StoreUnavailable

WAITING_MAX: Final = 256  # in one lane
RESTING_MAX: Final = 1024  # names
REST_MAX: Final = 0.5  # seconds, however slow a write is
WEIGHT: Final = 0.25  # of the last write in the measured latency
BUSY: Final = "The session is being changed by too many requests at once."

T = TypeVar("T")


class Place(Generic[T]):
    """One who takes part in a lane, with what it wants done."""

    __slots__ = ("_woken", "has_waited", "is_settled", "lane", "patience", "wants")

    def __init__(self, lane: "Lane[T]", wants: T, patience: Patience) -> None:
        self.lane = lane
        self.wants = wants
        self.patience = patience
        self.is_settled = False
        self.has_waited = False  # whether another one led when this one came
        self._woken: Wakeup | None = None  # of those who wait only

    async def leads(self) -> bool:
        """Wait for the lead; False once another one has settled this.

        Raises OutOfTime when the time is over.
        """
        if self.is_settled:
            return False
        if self._woken is not None:  # Else it leads, and has since it came.
            is_woken = await self._slept(self._woken)
            if not self.lane.goes_on(self):
                return False
            if not is_woken:
                raise deadline.OutOfTime
        if self.patience.is_over:
            raise deadline.OutOfTime
        return True

    def settle(self) -> None:
        """Let it go: what it wants is done, or cannot be."""
        self.lane.settle(self)

    def leave(self) -> None:
        """Wait no longer, and lead no longer."""
        self.lane.leave(self)

    def must_wait(self) -> None:
        """Have it sleep until it is woken."""
        self.has_waited, self._woken = True, Wakeup()

    def wake(self) -> None:
        """Have it look again."""
        if self._woken is not None:
            self._woken.wake()

    async def _slept(self, woken: Wakeup) -> bool:
        """Wait to be woken, on the request's account; False when the time is over."""
        if woken.is_woken:
            return True
        try:
            with deadline.waiting():
                came: bool = await woken.within(max(0.0, self.patience.left()))
                return came
        except deadline.OutOfTime:
            return woken.is_woken


class Lane(Generic[T]):
    """Those who change one thing now, in the order in which they came.

    ``known`` is what the one who leads leaves to the next: what it knows to be stored.
    ``contended`` says that another process was met since the last write that was made.
    """

    __slots__ = ("_lanes", "_leader", "_name", "_places", "contended", "known")

    def __init__(self, lanes: "Lanes[T]", name: str) -> None:
        self.known: Any = None
        self.contended = False
        self._lanes = lanes
        self._name = name
        self._places: list[Place[T]] = []
        self._leader: Place[T] | None = None

    # The lock of all lanes is held.

    def add(self, place: Place[T]) -> None:
        if len(self._places) >= WAITING_MAX:
            raise StoreUnavailable(BUSY)
        self._places.append(place)
        if self._leader is None:
            self._leader = place
            hold(place)
        else:
            place.must_wait()

    @property
    def is_led_from_here(self) -> bool:
        return self._leader is not None and is_held_here(self._leader)

    # It is not.

    def waiting(self) -> list[Place[T]]:
        """Return all whose wishes are not settled, the leader's own too, first come first."""
        with self._lanes.lock:
            return list(self._places)

    def goes_on(self, place: Place[T]) -> bool:
        """Tell whether what a place wants is still to be done; whoever leads holds it from here."""
        with self._lanes.lock:
            if place.is_settled:
                return False
            if self._leader is place and not is_held_here(place):
                hold(place)
            return True

    def settle(self, place: Place[T]) -> None:
        with self._lanes.lock:
            place.is_settled = True
            if place in self._places:
                self._places.remove(place)
        if place.has_waited:
            place.wake()

    def leave(self, place: Place[T]) -> None:
        let_go(place)
        with self._lanes.lock:
            if place in self._places:
                self._places.remove(place)
            if self._leader is not place:
                return
            self._leader = next(iter(self._places), None)
            if self._leader is None:
                self._lanes.forget(self._name, self)
            else:
                self._leader.wake()

    def pause(self) -> float:
        """Return the seconds for which other processes are let in before the next write."""
        return self._lanes.pause(self._name)

    def won(self) -> None:
        """Note that a write was made: let other processes in, if there are any."""
        if self.contended:
            self.contended = False
            self._lanes.rest(self._name)


class Lanes(Generic[T]):
    """The lanes of one process. ``latency`` is what a write takes lately, in seconds."""

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self.steady = steady
        self.latency = 0.0
        self.lock = RLock()  # An abandoned coroutine is closed in the middle of anything.
        self._lanes: dict[str, Lane[T]] = {}
        self._rests: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many things are being changed."""
        return len(self._lanes)

    def join(self, name: str, wants: T) -> Place[T]:
        """Take part; whoever does must leave. Raises StoreUnavailable where too many wait.

        Who is leading, and comes again (a log handler in the middle of it, say), works alone:
        it would wait for itself.
        """
        patience = Patience(self.steady)
        with self.lock:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(self, name)
            elif lane.is_led_from_here:
                lane = Lane(self, name)
            place = Place(lane, wants, patience)
            lane.add(place)
            return place

    def patience(self) -> Patience:
        """Return the time that one has from now on."""
        return Patience(self.steady)

    def took(self, seconds: float) -> None:
        """Note what a write took that was answered."""
        self.latency += (seconds - self.latency) * (WEIGHT if self.latency else 1)

    def rest(self, name: str) -> None:
        """Let other processes in for as long as one write takes."""
        now = self.steady()
        with self.lock:
            self._rests[name] = now + min(self.latency, REST_MAX)
            self._rests.move_to_end(name)
            while self._rests:
                oldest = next(iter(self._rests))
                if self._rests[oldest] > now and len(self._rests) <= RESTING_MAX:
                    break
                del self._rests[oldest]

    def pause(self, name: str) -> float:
        """Return the seconds that are left of it."""
        until = self._rests.get(name)
        return 0.0 if until is None else max(0.0, until - self.steady())

    def forget(self, name: str, lane: Lane[T]) -> None:
        """Keep nothing of a lane that nobody is in. The lock is held."""
        if self._lanes.get(name) is lane:
            del self._lanes[name]
