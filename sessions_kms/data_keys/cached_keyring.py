"""The keyring's two verbs, cached: a process asks KMS seldom, and outlives its outages.

Takes and gives what `keyring` does. What is held is bounded in number and in age
and lives in memory only. Knows nothing about KMS or the table but their errors.
"""

import hmac
import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final

from sessions_kms.concurrency.deadline import Moment, Stopwatch
from sessions_kms.concurrency.single_flight import Flights
from sessions_kms.concurrency.threads import Background, Job, start_thread
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import DataKey, Keyring
from sessions_kms.exceptions import (
    InvalidRecord,
    KMSUnavailable,
    SessionsKMSError,
    StoreUnavailable,
)
from sessions_kms.telemetry import telemetry

BACK_OFF: Final = 1  # seconds after a failure during which nobody asks again
INVALID_BACK_OFF: Final = 5  # seconds; KMS will not change its mind about a blob
YOUNG: Final = 0.75  # of a key's age below which no renewal is due
AHEAD: Final = 0.8  # of a key's age at which it is renewed, if it is opened with then
SEALING_KEYS: Final = 2  # the current period's and, ahead of its time, the next one's

CacheKey = tuple[frozenset[tuple[str, str]], bytes]  # full encryption context, exact blob
Ask = Callable[[], Coroutine[Any, Any, DataKey]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A data key and when KMS was last asked for it."""

    key: DataKey
    asked_at: Moment
    confirmed: bool = field(default=False, kw_only=True)  # KMS said the same of it twice


@dataclass(frozen=True)
class SealingEntry(Entry):
    """The data key to seal with from the start of a period on.

    ``renew_after`` and ``lead`` are the seconds of age, and before the end of the
    period, at which this process looks ahead: by chance, so that a fleet does
    not do so all at once.
    """

    period: int
    cache_key: CacheKey
    renew_after: float
    lead: float


class CachingKeyring:
    """Holds the data keys of another keyring.

    A key is *fresh* below ``max_age`` seconds since KMS was asked for it, and then
    nobody waits. Older, KMS is asked again; only when that cannot be answered a
    key below ``max_stale`` serves on. What a KMS key unwrapped is dropped when
    AWS refuses to use that KMS key.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        context: Callable[[int], Mapping[str, str]],
        max_age: float,
        max_stale: float,
        period_length: int,
        clock: Callable[[], float] = time.time,
        wall: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        start: Callable[[Callable[[], None]], None] = start_thread,
        background: bool = True,
        max_entries: int = 1000,
    ) -> None:
        self._keyring = keyring
        # Of a few periods: each use of a key asks for its own.
        self._full_context = lru_cache(16)(lambda period: frozenset(context(period).items()))
        self._max_age = max_age
        self._max_stale = max_stale
        self._period_length = period_length
        self._clock = clock
        self._stopwatch = Stopwatch(wall or clock, monotonic)
        self._since = self._stopwatch.since
        self._chance = chance
        self._background = Background(start if background else None)
        self._max_entries = max(max_entries, SEALING_KEYS)
        self._lock = threading.Lock()  # never held while KMS or the table is asked
        self._entries: OrderedDict[CacheKey, Entry] = OrderedDict()
        self._sealing: list[SealingEntry] = []  # the last ones fetched, newest first
        self._flights: Flights[DataKey] = Flights(
            self._stopwatch, unavailable=KMSUnavailable, back_off=_back_off
        )

    async def generate(self, period: int) -> DataKey:
        """Return the data key to seal with: in an outage the last one held, of whatever period.

        Period 0 asks for a data key of its own, fresh from KMS at each call.
        Raises KMSUnavailable or TableUnavailable.
        """
        if period == 0:
            return await self._fetch_own()
        fresh = self._held_to_seal(period, self._max_age)
        if fresh and self._due_beside(fresh, period) is not None:
            self._look_ahead(period)
            fresh = self._held_to_seal(period, self._max_age)
        if fresh:
            return _from_cache("seal", fresh)
        held = partial(self._held_to_seal, period)
        ask = partial(self._fetch, period)
        return await self._serve("seal", _generation(period), held, ask)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Return the data key of a record, from KMS if need be.

        Raises InvalidRecord for what KMS calls invalid, else KMSUnavailable.
        """
        cache_key = self._full_context(period), encrypted
        if young := self._held_to_open(cache_key, self._max_age * YOUNG):
            return _from_cache("open", young)
        self._background.run(lambda: self._renewal_of_opened(cache_key, period))
        if fresh := self._held_to_open(cache_key, self._max_age):
            return _from_cache("open", fresh)
        held = partial(self._held_to_open, cache_key)
        ask = partial(self._unwrap, cache_key, period)
        return await self._serve("open", cache_key, held, ask)

    async def confirmed(self, key: DataKey) -> DataKey:
        """Return a data key as KMS unwraps it when it is asked once more, unless it said so twice.

        Nothing that was sealed under it opens: 32 wrong bytes in one answer of KMS would sign
        everybody out. Raises as `unwrap` does.
        """
        cache_key = self._cache_key(key.encrypted, key.period)
        entry = self._held_to_open(cache_key, self._max_stale)
        if entry is not None and entry.confirmed:
            return entry.key
        ask = partial(self._watched, partial(self._unwrap, cache_key, key.period))
        return await self._flights.fly(("confirm", cache_key), ask)

    async def _serve(
        self,
        use: str,
        flight: Hashable,
        held: Callable[[float], Entry | None],
        ask: Ask,
    ) -> DataKey:
        """Return the key that is asked for, else in an outage a stale one."""

        async def ask_if_still_needed() -> DataKey:
            entry = held(self._max_age)
            return entry.key if entry else await self._watched(ask)

        try:
            stale = held(self._max_stale) is not None
            key = await self._asked(flight, ask_if_still_needed, stale=stale)
        except StoreUnavailable as exc:
            entry = held(self._max_stale)
            if entry is None or _refused_key(exc):
                self._drop(self._too_old)
                raise
            telemetry.count("data_keys", use=use, source="stale")
            return entry.key
        telemetry.count("data_keys", use=use, source="asked")
        return key

    async def _asked(self, flight: Hashable, ask: Ask, *, stale: bool) -> DataKey:
        """Ask; where KMS failed before, those with a stale key in hand have it probed meanwhile.

        One of them asks in line all the same once the failure is as old as a key may grow: a
        background that never runs must not hide that KMS answers again, or refuses.
        """
        failure = self._flights.last_failure(flight, self._max_age) if stale else None
        if isinstance(failure, StoreUnavailable) and _refused_key(failure) is None:
            probe = self._job(flight, ask)
            if self._flights.resting(flight) or self._background.run(lambda: probe):
                raise failure
        return await self._flights.fly(flight, ask, patient=not stale)

    def _job(self, flight: Hashable, ask: Ask) -> Job:
        """Return what asks in the background."""
        return lambda: run_sync(self._flights.fly(flight, ask))

    def _held_to_open(self, cache_key: CacheKey, limit: float) -> Entry | None:
        with self._lock:
            entry = self._entries.get(cache_key)
            if entry is None or self._since(entry.asked_at) >= limit:
                return None
            self._entries.move_to_end(cache_key)
            return entry

    def _held_to_seal(self, period: int, limit: float) -> SealingEntry | None:
        """Return the key of the latest period that has begun."""
        latest: SealingEntry | None = None
        for entry in self._sealing:
            if latest is not None and entry.period <= latest.period:
                continue
            if entry.period <= period and self._since(entry.asked_at) < limit:
                latest = entry
        return latest

    def _too_old(self, entry: Entry) -> bool:
        return self._since(entry.asked_at) >= self._max_stale

    def _cache_key(self, encrypted: bytes, period: int) -> CacheKey:
        return self._full_context(period), encrypted

    # Asking, and keeping what comes

    async def _unwrap(self, cache_key: CacheKey, period: int) -> DataKey:
        asked_at = self._stopwatch.now()
        key = await self._keyring.unwrap(cache_key[1], period)
        self._keep(cache_key, Entry(key, asked_at, confirmed=self._said_before(cache_key, key)))
        return key

    def _said_before(self, cache_key: CacheKey, key: DataKey) -> bool:
        """Return True if KMS gave the same bytes before; other ones are let go of."""
        with self._lock:
            entry = self._entries.get(cache_key)
        if entry is None:
            return False
        if hmac.compare_digest(entry.key.plaintext, key.plaintext):
            return True
        logger.error("KMS unwrapped one data key to different bytes. It is asked again.")
        self._drop(lambda held: held.key.encrypted == key.encrypted)
        return False

    async def _fetch(self, period: int) -> DataKey:
        asked_at = self._stopwatch.now()
        key = await self._keyring.generate(period)
        entry = SealingEntry(
            key,
            asked_at,
            period=period,
            cache_key=self._cache_key(key.encrypted, key.period),
            confirmed=self._said_before(self._cache_key(key.encrypted, key.period), key),
            renew_after=self._max_age * (YOUNG + 0.1 * self._chance()),
            lead=min(self._max_age, self._period_length) * (0.25 + 0.5 * self._chance()),
        )
        self._keep(entry.cache_key, entry)
        with self._lock:
            others = [other for other in self._sealing if other.period != period]
            self._sealing = [entry, *others][:SEALING_KEYS]
        return key

    async def _fetch_own(self) -> DataKey:
        asked_at = self._stopwatch.now()
        key = await self._watched(partial(self._keyring.generate, 0))
        self._keep(self._cache_key(key.encrypted, 0), Entry(key, asked_at))
        return key

    def _keep(self, cache_key: CacheKey, entry: Entry) -> None:
        self._drop(self._too_old)
        with self._lock:
            self._entries[cache_key] = entry
            self._entries.move_to_end(cache_key)
            pinned = {sealing.cache_key for sealing in self._sealing}
            while len(self._entries) > self._max_entries:
                del self._entries[next(key for key in self._entries if key not in pinned)]
        self._flights.forget(cache_key)

    async def _watched(self, ask: Ask) -> DataKey:
        """Ask; when a KMS key is refused, let go of all that it unwrapped."""
        try:
            return await ask()
        except StoreUnavailable as exc:
            if refused_key := _refused_key(exc):
                self._drop(lambda entry: entry.key.kms_key_id == refused_key)
            _report(exc)
            raise

    def _drop(self, unwanted: Callable[[Entry], bool]) -> None:
        with self._lock:
            self._sealing = [entry for entry in self._sealing if not unwanted(entry)]
            for key in [key for key, entry in self._entries.items() if unwanted(entry)]:
                del self._entries[key]

    # Looking ahead

    def _look_ahead(self, period: int) -> None:
        """Start a renewal in the background if one is due.

        Where that cannot be, the key is renewed in line once it is no longer fresh.
        """
        self._background.run(lambda: self._renewal(period))

    def _renewal(self, period: int) -> Job | None:
        if (due := self._due(period)) is None:
            return None
        ask = partial(self._watched, partial(self._fetch, due))
        return self._job(_generation(due), ask)

    def _renewal_of_opened(self, cache_key: CacheKey, period: int) -> Job | None:
        """Return the renewal of a key that is opened with, so that nobody waits at its age."""
        for sealing in self._sealing:
            if sealing.cache_key == cache_key:
                is_due = self._since(sealing.asked_at) >= sealing.renew_after
                return self._renewal(sealing.period) if is_due else None
        entry = self._held_to_open(cache_key, self._max_age)
        if entry is None or self._since(entry.asked_at) < self._max_age * AHEAD:
            return None
        if self._flights.resting(cache_key):
            return None
        ask = partial(self._watched, partial(self._unwrap, cache_key, period))
        return self._job(cache_key, ask)

    def _due(self, period: int) -> int | None:
        """Return the period whose data key is to be fetched, though nobody has to wait for it."""
        entry = self._held_to_seal(period, self._max_age)
        return None if entry is None else self._due_beside(entry, period)

    def _due_beside(self, entry: SealingEntry, period: int) -> int | None:
        """Return it where this is the key that is sealed with."""
        if entry.period < period or self._since(entry.asked_at) >= entry.renew_after:
            due = period
        else:
            due = period + self._period_length
            if self._clock() < due - entry.lead or any(e.period == due for e in self._sealing):
                return None
        return None if self._flights.resting(_generation(due)) else due


def _from_cache(use: str, entry: Entry) -> DataKey:
    telemetry.count("data_keys", use=use, source="cache")
    return entry.key


def _generation(period: int) -> Hashable:
    """Return what names the flight that fetches the data key to seal with in a period."""
    return "generate", period


def _back_off(error: SessionsKMSError) -> float:
    return INVALID_BACK_OFF if isinstance(error, InvalidRecord) else BACK_OFF


def _refused_key(error: SessionsKMSError) -> str | None:
    return error.refused_key if isinstance(error, KMSUnavailable) else None


def _report(error: StoreUnavailable) -> None:
    if refused_key := _refused_key(error):
        logger.error("AWS refused to use the KMS key %s. Its data keys are dropped.", refused_key)
    else:
        logger.warning("%s The data keys held serve on up to their limit of age.", error)
