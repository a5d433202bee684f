"""The not-before cutoff of the fleet: a session created before it does not count.

`NotBefore` is one process's view of the item. In memory the cutoff only moves forward, whatever
the table says. One far ahead of the clock is ignored until it is near: it would lock everybody
out. Cutoffs with a name apply to other things that begin, such as grants.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

from sessions_kms.concurrency.deadline import Stopwatch
from sessions_kms.concurrency.single_flight import Flights
from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.attributes import Item, as_number, number
from sessions_kms.format.item_types import NOT_BEFORE, not_before_id
from sessions_kms.format.record import CLOCK_SKEW
from sessions_kms.hints import command
from sessions_kms.storage.table import Table, try_write
from sessions_kms.storage.writes import Condition
from sessions_kms.telemetry import telemetry

logger = logging.getLogger(__name__)

READ_EVERY = 30  # seconds
GOOD_FOR = 60  # seconds without a successful read, after which the cutoff is unknown
RETRY_AFTER = 5  # seconds
ALARM_EVERY = 3600  # seconds between two alarms about the same cutoff
NAMES_MAX = 256  # named cutoffs that one process caches
Read = Callable[[], Coroutine[Any, Any, int]]  # of the item, in the table
_sources: list[Callable[[], Iterable[str]]] = []


class NotBeforeItems:
    """The items with the cutoffs of one namespace.

    A cutoff with a name applies to other things that begin, such as grants of tokens.
    """

    def __init__(self, table: Table, namespace: str) -> None:
        self._table = table
        self._namespace = namespace

    async def get(self, name: str | None = None) -> int:
        """Return the cutoff in the table; 0 if none is set. Raises InvalidRecord."""
        item = await self._table.get(not_before_id(self._namespace, name))
        if item is None:
            return 0
        NOT_BEFORE.version_of(item)
        return number(item, "notBefore")

    async def raise_to(self, moment: int, name: str | None = None, *, latest: int) -> bool:
        """Move that cutoff forward; move one after ``latest``, which is ignored, back.

        Return False if the stored one is valid and as late already.
        """
        if await try_write(
            self._table.put(self._item(name, moment), when=_is_lower(moment, latest))
        ):
            return True
        # The stored one is as late, or is not known.
        if not moment <= await self.get(name) <= latest:
            raise TableUnavailable
        return False

    def _item(self, name: str | None, moment: int) -> Item:
        item_id = not_before_id(self._namespace, name)
        return NOT_BEFORE.item(item_id) | {"notBefore": as_number(moment)}


def _is_lower(moment: int, latest: int) -> Condition:
    return Condition(
        "attribute_not_exists(#id) OR #notBefore < :moment OR #notBefore > :latest",
        {":moment": as_number(moment), ":latest": as_number(latest)},
    )


def not_before_names_from(source: Callable[[], Iterable[str]]) -> None:
    """Register the names of cutoffs that a package uses: an operator can mistype one."""
    _sources.append(source)


def known_names() -> set[str]:
    """Return the names of cutoffs that are used."""
    return {name for source in _sources for name in source()}


def latest(now: float) -> int:
    """Return the latest cutoff that counts now: a later one is forged, or of a wrong clock."""
    return int(now) + CLOCK_SKEW


class NotBefore:
    """One process's view of a cutoff, read again every 30 seconds.

    ``at_least`` is the cutoff in the settings; ``name`` is that of the cutoff, for the log.
    """

    def __init__(
        self,
        read: Read,
        *,
        at_least: int,
        clock: Callable[[], float],
        name: str | None = None,
    ) -> None:
        self._read = read
        self._setting = at_least
        self._moment = 0
        self._clock = clock
        self._alarm = _Alarm(name)
        self._read_at: float | None = None
        self._next_read = 0.0
        self._raising = Lock()
        self._reading: Flights[int] = Flights(
            Stopwatch(clock, monotonic), unavailable=TableUnavailable
        )

    async def moment(self) -> int:
        """Return the cutoff in force. Raises TableUnavailable."""
        if self._is_read_within(READ_EVERY):
            return self._moment
        # Only without a valid cached cutoff does a request wait for the read of another.
        try:
            must_wait = not self._is_read_within(GOOD_FOR)
            await self._reading.run("moment", self._refresh, waits=must_wait)
        except TableUnavailable:
            if not self._is_read_within(GOOD_FOR):
                raise  # with its cause, for the log
        if not self._is_read_within(GOOD_FOR):
            raise TableUnavailable
        return self._moment

    def cached(self) -> int | None:
        """Return the cutoff if it is cached, or None."""
        return self._moment if self._is_read_within(READ_EVERY) else None

    @property
    def accepted(self) -> int:
        """The latest valid cutoff that this process has read, however long ago; 0 for none."""
        return self._moment

    def at_least(self, moment: int) -> None:
        """Move the cutoff of this process forward: it was raised in the table."""
        with self._raising:
            self._moment = max(self._moment, moment)

    def _is_read_within(self, age: int) -> bool:
        # After the clock was set back, the last read would look recent; the item is read again.
        return self._read_at is not None and 0 <= self._clock() - self._read_at < age

    async def _refresh(self) -> int:
        now = self._clock()
        if self._is_read_within(READ_EVERY) or (
            self._is_read_within(GOOD_FOR) and now < self._next_read
        ):
            return self._moment
        self._next_read = now + RETRY_AFTER
        try:
            moment = await self._read()
        except InvalidRecord as exc:
            raise TableUnavailable from exc
        for each in (self._setting, moment):
            if each <= latest(now):
                self.at_least(each)
        self._read_at = now
        self._alarm.report(now, setting=self._setting, item=moment)
        return self._moment


class _Alarm:
    """Reports cutoffs that are too far ahead to count."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._logged: dict[
            str, tuple[int, float]
        ] = {}  # the cutoff, and when it was logged, by source

    def report(self, now: float, **moments: int) -> None:
        """Count each cutoff that is too far ahead; log it when it is new, and then hourly."""
        for source, moment in moments.items():
            if moment <= latest(now):
                continue
            telemetry.count("not_before.ignored", source=source)
            logged, at = self._logged.get(source, (0, 0.0))
            if logged != moment or not 0 <= now - at < ALARM_EVERY:
                self._logged[source] = moment, now  # First: a log handler may read the cutoff.
                logger.error(
                    "%s %s s ahead of the clock: ignored until it is near. %s",
                    *self._describe(source, f"{moment - now:,.0f}"),
                )

    def _describe(self, source: str, ahead: str) -> tuple[str, str, str]:
        if source == "setting":
            return "NOT_BEFORE is", ahead, "Correct the setting."
        if self._name is None:
            return "The not-before item is", ahead, f"`{command('end_sessions')}` overwrites it."
        item = f"The not-before item of {self._name} is"
        return item, ahead, f"`{command('end_sessions --provider')}` overwrites it."


class NamedNotBefores:
    """One process's view of the named cutoffs."""

    def __init__(
        self, read: Callable[[str], Coroutine[Any, Any, int]], *, clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._clock = clock
        self._known: OrderedDict[str, NotBefore] = OrderedDict()
        self._accepted: dict[str, int] = {}  # by names that were dropped from the cache, where set
        self._lock = Lock()

    def of(self, name: str) -> NotBefore:
        """Return the cutoff of this name, read at its first use."""
        with self._lock:
            if name not in self._known:
                self._known[name] = self._new(name)
            self._known.move_to_end(name)
            if len(self._known) > NAMES_MAX:
                self._drop_oldest()
            return self._known[name]

    def _new(self, name: str) -> NotBefore:
        new = NotBefore(partial(self._read, name), at_least=0, clock=self._clock, name=name)
        new.at_least(self._accepted.pop(name, 0))
        return new

    def _drop_oldest(self) -> None:
        name, oldest = self._known.popitem(last=False)
        if oldest.accepted:
            self._accepted[name] = oldest.accepted
