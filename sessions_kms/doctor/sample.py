"""A sample of the stored items: one page of the table, as it comes, none of it decrypted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.doctor import named
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.trouble import guarded
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import ITEM_MAX_BYTES, Item, item_size
from sessions_kms.format.kinds import SESSION, is_session_id, owner_prefix
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.tombstone import tombstone_in
from sessions_kms.services import build_kms_keyring, services

ITEMS = 200
DATA_KEYS = 5
# AWS deletes within a few days, typically.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
OVERDUE = 48 * 3600  # seconds
LARGE = 300 * 1024  # bytes


@dataclass
class Sample:
    """What the page holds. ``foreign`` counts sessions that are not of a format known here."""

    records: list[SessionRecord] = field(default_factory=list)
    largest: int = 0
    foreign: int = 0


def sample_findings() -> Iterator[Finding]:
    """Look at the sample."""
    yield from guarded("sample format", _findings, needs="dynamodb:Scan")


def _findings() -> Iterator[Finding]:
    sample = Sample()
    for item in run_sync(services().table.scan(limit=ITEMS, whole=True)).items:
        if is_session_id(item["id"]["S"]):
            _add(sample, item)
    yield _format(sample)
    yield _overdue(sample)
    yield _size(sample)
    yield from guarded("sample data keys", partial(_data_keys, sample))


def _add(sample: Sample, item: Item) -> None:
    known = {name: value for name, value in item.items() if value.keys() & {"S", "N", "B"}}
    sample.largest = max(sample.largest, item_size(known))
    try:
        if tombstone_in(item) is None:
            sample.records.append(SessionRecord.from_item(item))
    except InvalidRecord:
        sample.foreign += 1


def _format(sample: Sample) -> Finding:
    if not sample.foreign:
        return ok(
            "sample format", f"{len(sample.records)} sessions, all of version {SESSION.versions}"
        )
    return warning(
        "sample format",
        f"{sample.foreign} of {len(sample.records) + sample.foreign} sessions are not of version"
        f" {SESSION.versions}",
        "Update sessions_kms here if a newer release wrote them; else find out who writes to the"
        " table, and who may. They are no sessions to this release.",
    )


def _overdue(sample: Sample) -> Finding:
    latest = services().clock() - OVERDUE
    overdue = sum(record.ttl < latest for record in sample.records)
    if not overdue:
        return ok("sample expired", "none that ended more than 48 hours ago")
    return warning(
        "sample expired",
        f"{overdue} of {len(sample.records)} sessions ended more than 48 hours ago",
        "While TTL is off (see 'table TTL'), `manage.py clearsessions --force` deletes them. While"
        " it is on, look at TimeToLiveDeletedItemCount in CloudWatch: AWS is late, or does not"
        " delete what ended more than five years ago.",
    )


def _size(sample: Sample) -> Finding:
    detail = f"the largest has {sample.largest:,} of {ITEM_MAX_BYTES:,} bytes"
    if sample.largest <= LARGE:
        return ok("sample size", detail)
    return warning(
        "sample size",
        detail,
        "Keep large data elsewhere and its key in the session: beyond the limit no save succeeds.",
    )


def _data_keys(sample: Sample) -> Iterator[Finding]:
    """Unwrap a few data keys of live sessions whose owner says that they are ours.

    Those of a lost KMS key that have ended, and wait for TTL, are no loss any more.
    """
    name = "sample data keys"
    prefix = owner_prefix(services().config.namespace)
    wrapped = dict.fromkeys(
        (record.encrypted_key, record.key_period)
        for record in sample.records
        if (record.owner or "").startswith(prefix) and run_sync(services().of_any.is_live(record))
    )
    tried = list(wrapped)[:DATA_KEYS]
    lost = sum(not _unwraps(*each) for each in tried)
    if lost:
        yield failing(
            name,
            f"{lost} of {len(tried)} cannot be unwrapped by the configured KMS keys",
            f"Add the KMS key that wrapped them to {named.PREVIOUS_KEYS}, and set"
            f" {named.NAMESPACE} and ENCRYPTION_CONTEXT to what they were: they never change.",
        )
    else:
        yield ok(name, f"{len(tried)} tried, all unwrap")


def _unwraps(encrypted: bytes, period: int) -> bool:
    try:
        run_sync(build_kms_keyring(services().config).unwrap(encrypted, period))
    except (InvalidRecord, IncorrectKey):
        return False
    return True
