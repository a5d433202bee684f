"""Taking the data key of one period out of use: another one is published in its place.

Takes a period and gives the data key that is published now. Done once: whoever comes
later, or at the same time, finds that it was replaced.
"""

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import KMSKeyring
from sessions_kms.data_keys.shared_keyring import published_until
from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.published_key import PublishedKey
from sessions_kms.format.record import CLOCK_SKEW
from sessions_kms.services import Services

TRIES = 5


def is_in_use(services: Services, period: int) -> bool:
    """Tell whether sessions may still be sealed under the data key of a period.

    A process that had nothing to seal for a while asks for the next one only with its next
    session, which it still seals with the key that it holds.
    """
    length, cache_age = services.config.data_key_period, services.config.data_key_cache_age
    return length > 0 and services.clock() < period + length + cache_age + CLOCK_SKEW


def begun(services: Services, moment: int) -> int:
    """Return the start of the period that a moment lies in.

    One that is published began, if under another DATA_KEY_PERIOD. Raises TableUnavailable.
    """
    start = services.config.period_of(moment)
    return moment if start != moment and _published(services, moment) else start


def replacement(services: Services, period: int) -> PublishedKey | None:
    """Return the data key that took the place of a period's leaked one, while it is published.

    Raises TableUnavailable.
    """
    try:
        published = run_sync(services.data_key_items.get(period))
    except InvalidRecord:  # Nobody can have sealed under what cannot be read.
        return None
    return published if published is not None and published.replaced_at is not None else None


def replaced(services: Services, keyring: KMSKeyring, period: int) -> PublishedKey:
    """Return the data key that took the place of a period's leaked one, publishing it if need be.

    Raises StoreUnavailable.
    """
    for _ in range(TRIES):
        published = _published(services, period)
        if published is not None and published.replaced_at is not None:
            return published
        now = int(services.clock())
        key = PublishedKey(
            period=period,
            encrypted=run_sync(keyring.generate(period)).encrypted,
            created_at=now,
            ttl=published_until(period, services.config.data_key_period),
            replaced_at=now,
        )
        # What was put is read again: the answer may be lost, or another have been first.
        if published is None:
            run_sync(services.data_key_items.publish(key))
        else:
            run_sync(services.data_key_items.replace(key, old=published.encrypted))
    raise TableUnavailable("The published data key is changed by others all the time.")


def _published(services: Services, period: int) -> PublishedKey | None:
    try:
        return run_sync(services.data_key_items.get(period))
    except InvalidRecord as exc:
        raise TableUnavailable("The published data key of this period cannot be read.") from exc
