"""KMS calls of a fleet, simulated: the real keyring and cache with a virtual clock.

The visitors are those of the design's estimate: one save in five loads; nine of ten loads read a
record that is some minutes old, the others one of any age up to the absolute timeout.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.data_keys.cached_keyring import CachingKeyring
from sessions_kms.data_keys.keyring import DataKey, Keyring, KMSKeyring, SharedKeyring
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.sessions_kms.support.fakes import KEY, FakeDataKeyTable, FakeKMS
from tests.support.clock import FakeClock

NOON = 1_800_014_400.0 - 1_800_014_400 % 86400 + 43200
MILLION = 1_000_000
RECENT = 300.0  # seconds; age of most records
OLD = 0.1  # fraction of loads that read a record of any age
SAVES = 0.2  # for each load
DEFAULTS = Config(key_id=KEY, table_name="sessions")
NOTES = [
    "Simulated with default settings and warm caches. The formula is that of docs/cost.md without "
    "its factor for early renewals: a process renews each data key at 75 to 85% of its maximum "
    "age, so that no request waits for KMS.",
]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("KMS calls for a million requests", list(NOTES), on_page=False)
    rows = []
    for processes in scale.fleets:
        calls = Fleet(processes, scale.rate).per_million(scale.simulated)
        formula = expected(processes, scale.rate)
        rows.append((f"{processes}", f"{calls:,.0f}", f"{formula:,.0f}", f"{calls / formula:.2f}"))
        section.targets.append(
            Target(f"KMS calls for a million requests, {processes} processes", formula, calls)
        )
    columns = ("", "simulated", "formula", "times the formula")
    section.tables.append(Table(f"processes, at {scale.rate:,} requests/s", columns, rows))
    return section


def expected(processes: int, rate: int) -> float:
    """Return the formula's KMS calls for a million requests."""
    timeout, period = DEFAULTS.absolute_timeout, DEFAULTS.data_key_period
    assert timeout is not None
    keys = 1 + timeout / period
    age = DEFAULTS.data_key_cache_age
    return MILLION * (processes * keys / (age * rate) + (1 + processes) / (period * rate))


class Fleet:
    """Processes that share a table and a KMS key, each with its own cache."""

    def __init__(self, processes: int, rate: int) -> None:
        self._rate = rate
        self._random = random.Random(processes)  # noqa: S311 - the same run each time
        self._clock = FakeClock(NOON)
        self._kms = FakeKMS(KEY)
        self._table = FakeDataKeyTable()
        self._jobs: list[Callable[[], None]] = []
        self._processes = [self._process() for _ in range(processes)]
        self._keys = self._publish_earlier_keys()

    def per_million(self, seconds: int) -> float:
        """Fill the caches, then return the KMS calls for a million requests."""
        self._run(2 * DEFAULTS.data_key_cache_age)
        before = len(self._kms.calls)
        requests = self._run(seconds)
        return (len(self._kms.calls) - before) * MILLION / requests

    def _process(self) -> Keyring:
        return CachingKeyring(
            self._shared(),
            context=self._direct().context,
            max_age=DEFAULTS.data_key_cache_age,
            max_stale=DEFAULTS.data_key_max_stale,
            period_length=DEFAULTS.data_key_period,
            clock=self._clock,
            monotonic=self._clock,
            chance=self._random.random,
            start=self._jobs.append,
        )

    def _publish_earlier_keys(self) -> dict[int, DataKey]:
        """Publish the data keys of all periods that a record can have."""
        today = self._period(NOON)
        timeout = DEFAULTS.absolute_timeout or 0
        periods = range(self._period(NOON - timeout), today + 1, DEFAULTS.data_key_period)
        return {period: run_sync(self._shared().generate(period)) for period in periods}

    def _shared(self) -> SharedKeyring:
        period = DEFAULTS.data_key_period
        return SharedKeyring(
            self._direct(), self._table.items, period_length=period, clock=self._clock
        )

    def _direct(self) -> KMSKeyring:
        return KMSKeyring(
            self._kms, key_id=KEY, decrypt_key_ids=(), namespace="django", encryption_context={}
        )

    def _run(self, seconds: int) -> int:
        requests = seconds * self._rate
        for _ in range(requests):
            self._clock.advance(1 / self._rate)
            self._request(self._random.choice(self._processes))
        return requests

    def _request(self, process: Keyring) -> None:
        key = self._keys[self._period(self._clock.now - self._age())]
        run_sync(process.unwrap(key.encrypted, key.period))
        if self._random.random() < SAVES:
            run_sync(process.generate(self._period(self._clock.now)))
        while self._jobs:
            self._jobs.pop()()

    def _age(self) -> float:
        if self._random.random() >= OLD:
            return self._random.random() * RECENT
        return self._random.random() * (DEFAULTS.absolute_timeout or 0)

    @staticmethod
    def _period(moment: float) -> int:
        return int(moment) - int(moment) % DEFAULTS.data_key_period
