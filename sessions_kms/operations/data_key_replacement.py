"""Replacing the data key of one period, after a leak: another one is published instead.

It is replaced only once: a second call, later or at the same time, finds the replacement, unless
that is to be replaced as well.
"""

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import KMSKeyring, published_until
from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.record import CLOCK_SKEW
from sessions_kms.services import Services
from sessions_kms.storage.published_keys import PublishedKey

ATTEMPTS = 5


def is_in_use(services: Services, period: int) -> bool:
    """Return True if a process may still seal sessions with a data key of a period.

    A process that sealed nothing for a while fetches the next data key only with its next session,
    which it still seals with the cached one.
    """
    length, cache_age = services.config.period_length, services.config.data_key_cache_age
    return services.clock() < period + length + cache_age + CLOCK_SKEW


def get_period_start(services: Services, moment: int) -> int:
    """Return the start of the period that a time belongs to. Raises TableUnavailable.

    A time with a published data key is a start, if under another DATA_KEY_PERIOD.
    """
    start = services.period_of(moment)
    if start == moment:
        return start
    published, is_readable = _read(services, moment)
    return start if published is None and is_readable else moment


def get_replacement(services: Services, period: int) -> PublishedKey | None:
    """Return the published replacement of a period's data key, or None.

    Raises TableUnavailable.
    """
    published, _ = _read(services, period)
    return published if published is not None and published.replaced_at is not None else None


def replace_data_key(
    services: Services, keyring: KMSKeyring, period: int, *, again: bool = False
) -> PublishedKey:
    """Publish a replacement of a period's data key unless there is one; return it.

    With ``again`` the current one is replaced even if it is marked as a replacement: an attacker
    with the leaked key may have put it back. Raises StoreUnavailable.
    """
    items = services.data_key_items
    unwanted = get_replacement(services, period) if again else None
    for _ in range(ATTEMPTS):
        published, is_readable = _read(services, period)
        if published is not None and published.replaced_at is not None and published != unwanted:
            return published
        now = int(services.clock())
        key = PublishedKey(
            period=period,
            encrypted=run_sync(keyring.generate(period)).encrypted,
            created_at=now,
            ttl=published_until(period, services.config.period_length),
            replaced_at=now,
        )
        # Read it again: the response may be lost, or another call was first.
        if not is_readable:
            run_sync(items.replace_unreadable(key))
        elif published is None:
            run_sync(items.publish(key))
        else:
            run_sync(items.replace(key, old=published.encrypted))
    raise TableUnavailable("Other processes keep changing the published data key.")


def _read(services: Services, period: int) -> tuple[PublishedKey | None, bool]:
    """Return the published data key of a period, and whether what is stored can be read.

    No process can have used what cannot be read.
    """
    try:
        return run_sync(services.data_key_items.get(period)), True
    except InvalidRecord:
        return None, False
