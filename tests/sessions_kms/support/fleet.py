"""A fleet of processes for the tests of data keys: one KMS, one table, a keyring for each."""

from collections.abc import Callable
from typing import Any

import pytest

from sessions_kms.data_keys.cached_keyring import CachingKeyring
from sessions_kms.data_keys.keyring import DataKey, KMSKeyring, SharedKeyring
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.testing.kms import MemoryKMS
from tests.sessions_kms.support.fakes import KEY, OLD_KEY, FakeDataKeyTable, FakeKMS
from tests.sessions_kms.support.stepping import run_blocking
from tests.support.clock import FakeClock

DAY = 24 * 3600
NOW = 1_800_000_000
PERIOD = NOW - NOW % DAY  # the period of NOW, eight hours old
MAX_AGE = 300
MAX_STALE = 3600
RENEWAL_AGE = 240  # seconds; of a key fetched with a random value of one half
LEAD = 150  # seconds before the end of a period, with the same random value


def kms_keyring(
    kms: FakeKMS, *, key_id: str = KEY, decrypt_key_ids: tuple[str, ...] = (), **context: str
) -> KMSKeyring:
    return KMSKeyring(
        kms,
        key_id=key_id,
        decrypt_key_ids=decrypt_key_ids,
        namespace="django",
        encryption_context=context,
    )


class Process:
    """One process. Its background renewals are queued in ``jobs`` until a test runs them."""

    def __init__(
        self,
        kms: FakeKMS | None = None,
        table: FakeDataKeyTable | None = None,
        clock: FakeClock | None = None,
        *,
        key_id: str = KEY,
        decrypt_key_ids: tuple[str, ...] = (OLD_KEY,),
        **options: Any,
    ) -> None:
        self.kms = kms or FakeKMS()
        self.table = table or FakeDataKeyTable()
        self.clock = clock or FakeClock(NOW)
        self.jobs: list[Callable[[], None]] = []
        direct = kms_keyring(self.kms, key_id=key_id, decrypt_key_ids=decrypt_key_ids)
        shared = SharedKeyring(direct, self.table.items, period_length=DAY, clock=self.clock)
        self.cache = CachingKeyring(
            shared if options.get("period_length", DAY) else direct,
            context=direct.context,
            clock=self.clock,
            **{
                "max_age": MAX_AGE,
                "max_stale": MAX_STALE,
                "period_length": DAY,
                "chance": lambda: 0.5,
                "start": self.jobs.append,
                **options,
            },
        )
        self.keyring = self.cache
        self.generate = run_blocking(self.keyring.generate)
        self.unwrap = run_blocking(self.keyring.unwrap)

    def read(self, key: DataKey) -> DataKey:
        """Unwrap a data key, as for a session that is sealed under it."""
        return self.unwrap(key.encrypted, key.period)

    def fail_to_read(self, key: DataKey) -> str | None:
        """Assert that a data key is unavailable; return the KMS key that refused it, if one did."""
        with pytest.raises(KMSUnavailable) as caught:
            self.read(key)
        return caught.value.refused_key

    def run_jobs(self) -> int:
        """Run the queued background renewals, and return their number."""
        jobs, self.jobs[:] = list(self.jobs), []
        for job in jobs:
            job()
        return len(jobs)

    def plaintexts(self) -> set[bytes]:
        """Return all plaintext data keys in the cache."""
        held = [*self.cache._entries.values(), *self.cache._sealing]
        return {entry.key.plaintext for entry in held}


def read_earlier_key(process: Process, **options: Any) -> DataKey:
    """Have a process unwrap a data key of another one; return it."""
    key = earlier_key(process, **options)
    process.read(key)
    return key


def earlier_key(process: Process, *, key_id: str = KEY, period: int = PERIOD - DAY) -> DataKey:
    """Return a data key of another process that this one has not unwrapped yet."""
    return make_elsewhere(process.kms, period, key_id=key_id)


def make_elsewhere(kms: FakeKMS, period: int = PERIOD, *, key_id: str = KEY) -> DataKey:
    """Return a data key, without counting the calls that made it."""
    context = kms_keyring(kms, key_id=key_id).context(period)
    made = MemoryKMS.generate_data_key(kms, key_id, context)
    return DataKey(period, made.ciphertext, made.plaintext, key_id)


def decrypts(process: Process) -> int:
    """Return the number of its Decrypt calls."""
    return process.kms.count("decrypt")


def put_clock(process: Process, moment: float) -> None:
    process.clock.advance(moment - process.clock())
