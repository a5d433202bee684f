"""A cache in front of the keyring: few calls to KMS, and sessions that survive its outages.

It has the interface of `keyring`. Cached keys are limited in number and age, and only kept in
memory. This module does not depend on KMS or the table, except for their errors.
"""

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

from sessions_kms.aws.clock import system_time
from sessions_kms.concurrency.deadline import Moment, Stopwatch
from sessions_kms.concurrency.single_flight import Flights
from sessions_kms.concurrency.threads import Background, Job, start_thread
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import DataKey, Keyring, confirm
from sessions_kms.exceptions import (
    InvalidRecord,
    KMSUnavailable,
    SessionsKMSError,
    StoreUnavailable,
)
from sessions_kms.telemetry import ERROR_TYPE, telemetry

BACK_OFF: Final = 1  # seconds after a failure without another call
INVALID_BACK_OFF: Final = 5  # seconds; KMS gives the same response for the same blob
YOUNG: Final = 0.75  # fraction of a key's maximum age before which no renewal is due
AHEAD: Final = 0.8  # fraction of it from which keys used for unwrapping are renewed
DIFFERENT: Final = "KMS unwrapped one data key to different bytes. Unwrapping it again."
SEALING_KEYS: Final = 2  # the current period's and, in advance, the next one's

CacheKey = tuple[frozenset[tuple[str, str]], bytes]  # full encryption context, exact blob
Call = Callable[[], Coroutine[Any, Any, DataKey]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A data key, and when it was last requested from KMS."""

    key: DataKey
    requested_at: Moment


@dataclass(frozen=True)
class SealingEntry(Entry):
    """The data key to seal with from the start of a period.

    This process fetches a key in advance when this one is ``renew_after`` seconds old, or ``lead``
    seconds before the period ends. Both are random, so that the processes of a fleet do not call
    KMS at the same time.
    """

    period: int
    cache_key: CacheKey
    renew_after: float
    lead: float


class CachingKeyring:
    """Caches the data keys of another keyring.

    A key is *fresh* for ``max_age`` seconds after its request to KMS, and used without waiting.
    An older key is requested again. Only while KMS is unavailable is a key used until it is
    ``max_stale`` seconds old. If AWS refuses to use a KMS key, all data keys that it unwrapped are
    dropped.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        context: Callable[[int], Mapping[str, str]],
        max_age: float,
        max_stale: float,
        period_length: int,
        clock: Callable[[], float] = system_time,
        wall: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        start: Callable[[Callable[[], None]], None] = start_thread,
        background: bool = True,
        max_entries: int = 1000,
    ) -> None:
        self._keyring = keyring
        # Few periods are in use at a time, and each use of a key needs the context.
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
        self._lock = threading.Lock()  # never held during a call to KMS or the table
        self._entries: OrderedDict[CacheKey, Entry] = OrderedDict()
        self._sealing: list[SealingEntry] = []  # the most recent ones, newest first
        self._flights: Flights[DataKey] = Flights(
            self._stopwatch, unavailable=KMSUnavailable, back_off=_back_off
        )

    async def generate(self, period: int) -> DataKey:
        """Return the data key to seal with; in an outage, the latest cached one of any period.

        Without a period length each call requests a new data key from KMS.
        Raises KMSUnavailable or TableUnavailable.
        """
        if not self._period_length:
            return await self._fetch_own(period)
        fresh = self._get_sealing_entry(period, self._max_age)
        if fresh and self._get_due_period(fresh, period) is not None:
            self._look_ahead(period)
            fresh = self._get_sealing_entry(period, self._max_age)
        if fresh:
            return _from_cache("seal", fresh)
        get_cached = partial(self._get_sealing_entry, period)
        call = partial(self._fetch, period)
        return await self._serve("seal", _generation_key(period), get_cached, call)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Return the data key of a record, from the cache or from KMS.

        Raises InvalidRecord if KMS reports it as invalid, otherwise KMSUnavailable.
        """
        cache_key = self._full_context(period), encrypted
        if young := self._get_entry(cache_key, self._max_age * YOUNG):
            return _from_cache("open", young)
        self._background.run(lambda: self._make_unwrap_renewal(cache_key, period))
        if fresh := self._get_entry(cache_key, self._max_age):
            return _from_cache("open", fresh)
        get_cached = partial(self._get_entry, cache_key)
        call = partial(self._unwrap, cache_key, period)
        return await self._serve("open", cache_key, get_cached, call)

    async def confirmed(self, key: DataKey) -> DataKey:
        """Return a data key after unwrapping it again, unless KMS has confirmed it already.

        Use this for a key that decrypts nothing: otherwise one KMS response with 32 wrong bytes
        would sign everybody out. Raises the errors of `unwrap`.
        """
        cache_key = self._cache_key(key.encrypted, key.period)
        entry = self._get_entry(cache_key, self._max_stale)
        if entry is not None and entry.key.confirmed:
            return entry.key
        call = partial(self._call_kms, partial(self._unwrap, cache_key, key.period))
        return await self._flights.run(("confirm", cache_key), call)

    async def _serve(
        self,
        use: str,
        flight: Hashable,
        get_cached: Callable[[float], Entry | None],
        call: Call,
    ) -> DataKey:
        """Return the requested key; in an outage, a stale one."""

        async def call_if_needed() -> DataKey:
            entry = get_cached(self._max_age)
            return entry.key if entry else await self._call_kms(call)

        try:
            stale = get_cached(self._max_stale) is not None
            key = await self._call_or_probe(flight, call_if_needed, stale=stale)
        except StoreUnavailable as exc:
            entry = get_cached(self._max_stale)
            if entry is None or _refused_key(exc):
                self._drop(self._is_too_old)
                raise
            cause = {ERROR_TYPE: exc.telemetry_name}  # KMS, or the table with the published key
            telemetry.count("data_keys", use=use, source="stale", **cause)
            return entry.key
        telemetry.count("data_keys", use=use, source="asked")
        return key

    async def _call_or_probe(self, flight: Hashable, call: Call, *, stale: bool) -> DataKey:
        """Call KMS; after a failure, callers with a stale key leave that to a background job.

        When the failure is older than a key's maximum age, one of them calls KMS itself: a
        background job that never runs must not hide that KMS is available again or denies access.
        """
        failure = self._flights.last_failure(flight, self._max_age) if stale else None
        if isinstance(failure, StoreUnavailable) and _refused_key(failure) is None:
            probe = self._make_job(flight, call)
            if self._flights.is_backing_off(flight) or self._background.run(lambda: probe):
                raise failure
        return await self._flights.run(flight, call, waits=not stale)

    def _make_job(self, flight: Hashable, call: Call) -> Job:
        """Return the background job that calls KMS."""
        return lambda: run_sync(self._flights.run(flight, call))

    def _get_entry(self, cache_key: CacheKey, limit: float) -> Entry | None:
        with self._lock:
            entry = self._entries.get(cache_key)
            if entry is None or self._since(entry.requested_at) >= limit:
                return None
            self._entries.move_to_end(cache_key)
            return entry

    def _get_sealing_entry(self, period: int, limit: float) -> SealingEntry | None:
        """Return the entry of the latest period that has started."""
        latest: SealingEntry | None = None
        for entry in self._sealing:
            if latest is not None and entry.period <= latest.period:
                continue
            if entry.period <= period and self._since(entry.requested_at) < limit:
                latest = entry
        return latest

    def _is_too_old(self, entry: Entry) -> bool:
        return self._since(entry.requested_at) >= self._max_stale

    def _cache_key(self, encrypted: bytes, period: int) -> CacheKey:
        return self._full_context(period), encrypted

    # Calls to KMS, and storing the results

    async def _unwrap(self, cache_key: CacheKey, period: int) -> DataKey:
        requested_at = self._stopwatch.now()
        key = await self._keyring.unwrap(cache_key[1], period)
        if self._is_confirmed(cache_key, key):
            key = replace(key, confirmed=True)
        self._store(cache_key, Entry(key, requested_at))
        return key

    def _is_confirmed(self, cache_key: CacheKey, key: DataKey) -> bool:
        """Return True if the cached key has the same bytes; a different one is dropped."""
        with self._lock:
            entry = self._entries.get(cache_key)
        if entry is None:
            return False
        if entry.key.has_same_bytes(key):
            return True
        logger.error(DIFFERENT)
        self._drop(lambda each: each.key.encrypted == key.encrypted)
        return False

    async def _fetch(self, period: int) -> DataKey:
        requested_at = self._stopwatch.now()
        key = await self._confirm(await self._keyring.generate(period))
        entry = SealingEntry(
            key,
            requested_at,
            period=period,
            cache_key=self._cache_key(key.encrypted, key.period),
            renew_after=self._max_age * (YOUNG + 0.1 * self._chance()),
            lead=min(self._max_age, self._period_length) * (0.25 + 0.5 * self._chance()),
        )
        self._store(entry.cache_key, entry)
        with self._lock:
            others = [other for other in self._sealing if other.period != period]
            self._sealing = [entry, *others][:SEALING_KEYS]
        return key

    async def _confirm(self, key: DataKey) -> DataKey:
        """Return a data key on which two responses of KMS agree, so that it may encrypt.

        Raises KMSUnavailable if they differ. The cached bytes stay in use if they are confirmed.
        """
        if key.confirmed:
            return key
        with self._lock:
            known = self._entries.get(self._cache_key(key.encrypted, key.period))
        if known is not None and known.key.has_same_bytes(key):
            return replace(key, confirmed=True)
        if known is None:
            return await confirm(key, self._keyring.unwrap(key.encrypted, key.period))
        if not known.key.confirmed:
            self._drop(lambda each: each.key.encrypted == key.encrypted)
        logger.error(DIFFERENT)
        raise KMSUnavailable

    async def _fetch_own(self, period: int) -> DataKey:
        requested_at = self._stopwatch.now()
        key = await self._call_kms(partial(self._keyring.generate, period))
        self._store(self._cache_key(key.encrypted, period), Entry(key, requested_at))
        return key

    def _store(self, cache_key: CacheKey, entry: Entry) -> None:
        self._drop(self._is_too_old)
        with self._lock:
            self._entries[cache_key] = entry
            self._entries.move_to_end(cache_key)
            pinned = {sealing.cache_key for sealing in self._sealing}
            while len(self._entries) > self._max_entries:
                del self._entries[next(key for key in self._entries if key not in pinned)]
        self._flights.forget(cache_key)

    async def _call_kms(self, call: Call) -> DataKey:
        """Call KMS; if AWS refuses to use a KMS key, drop all data keys that it unwrapped."""
        try:
            return await call()
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

    # Renewal in advance

    def _look_ahead(self, period: int) -> None:
        """Start a renewal in the background if one is due.

        If no thread can be started, the key is renewed by a request once it is no longer fresh.
        """
        self._background.run(lambda: self._make_renewal(period))

    def _make_renewal(self, period: int) -> Job | None:
        if (due := self._find_due_period(period)) is None:
            return None
        call = partial(self._call_kms, partial(self._fetch, due))
        return self._make_job(_generation_key(due), call)

    def _make_unwrap_renewal(self, cache_key: CacheKey, period: int) -> Job | None:
        """Return the renewal of a key used for unwrapping, due before requests have to wait."""
        for sealing in self._sealing:
            if sealing.cache_key == cache_key:
                is_due = self._since(sealing.requested_at) >= sealing.renew_after
                return self._make_renewal(sealing.period) if is_due else None
        entry = self._get_entry(cache_key, self._max_age)
        if entry is None or self._since(entry.requested_at) < self._max_age * AHEAD:
            return None
        if self._flights.is_backing_off(cache_key):
            return None
        call = partial(self._call_kms, partial(self._unwrap, cache_key, period))
        return self._make_job(cache_key, call)

    def _find_due_period(self, period: int) -> int | None:
        """Return the period whose data key should be fetched in advance, if there is one."""
        entry = self._get_sealing_entry(period, self._max_age)
        return None if entry is None else self._get_due_period(entry, period)

    def _get_due_period(self, entry: SealingEntry, period: int) -> int | None:
        """Return the period to fetch in advance, given the key that is in use."""
        if entry.period < period or self._since(entry.requested_at) >= entry.renew_after:
            due = period
        else:
            due = period + self._period_length
            if self._clock() < due - entry.lead or any(e.period == due for e in self._sealing):
                return None
        return None if self._flights.is_backing_off(_generation_key(due)) else due


def _from_cache(use: str, entry: Entry) -> DataKey:
    telemetry.count("data_keys", use=use, source="cache")
    return entry.key


def _generation_key(period: int) -> Hashable:
    """Return the single-flight key for fetching the sealing key of a period."""
    return "generate", period


def _back_off(error: SessionsKMSError) -> float:
    return INVALID_BACK_OFF if isinstance(error, InvalidRecord) else BACK_OFF


def _refused_key(error: SessionsKMSError) -> str | None:
    return error.refused_key if isinstance(error, KMSUnavailable) else None


def _report(error: StoreUnavailable) -> None:
    if refused_key := _refused_key(error):
        logger.error("AWS refused to use the KMS key %s. Its data keys are dropped.", refused_key)
    else:
        logger.warning("%s Cached data keys are used until they are too old.", error)
