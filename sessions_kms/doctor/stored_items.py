"""The stored items: a sample of the table, undecrypted, and the not-before cutoffs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning
from sessions_kms.doctor.trouble import DECRYPT_KEY_IDS, NAMESPACE, report_errors
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import ITEM_MAX_BYTES, Item, item_size
from sessions_kms.format.item_types import SESSION, is_session_id, owner_prefix
from sessions_kms.format.record import SessionRecord, read_tombstone
from sessions_kms.hints import command
from sessions_kms.services import build_kms_keyring, services
from sessions_kms.storage.not_before import known_names, latest

ITEMS = 200
DATA_KEYS = 5
# AWS typically deletes within a few days.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
OVERDUE = 48 * 3600  # seconds
LARGE = 300 * 1024  # bytes


@dataclass
class Sample:
    """The page's records. ``foreign`` counts sessions of an unknown format."""

    records: list[SessionRecord] = field(default_factory=list)
    largest: int = 0
    foreign: int = 0


@report_errors("sample format", needs="dynamodb:Scan")
def sample_findings() -> Iterator[Finding]:
    """Check one page of the table."""
    sample = Sample()
    for item in run_sync(services().queries.scan(limit=ITEMS, whole=True)).items:
        if is_session_id(item["id"]["S"]):
            _add(sample, item)
    yield _format(sample)
    yield _overdue(sample)
    yield _size(sample)
    yield from _data_keys(sample)


def _add(sample: Sample, item: Item) -> None:
    known = {name: value for name, value in item.items() if value.keys() & {"S", "N", "B"}}
    sample.largest = max(sample.largest, item_size(known))
    try:
        if read_tombstone(item) is None:
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
        "Update sessions_kms here if a newer release wrote them; otherwise find out who writes to"
        " the table, and who is allowed to. This release does not accept them as sessions.",
    )


def _overdue(sample: Sample) -> Finding:
    latest = services().clock() - OVERDUE
    overdue = sum(record.ttl < latest for record in sample.records)
    if not overdue:
        return ok("sample expired", "none that ended more than 48 hours ago")
    return warning(
        "sample expired",
        f"{overdue} of {len(sample.records)} sessions ended more than 48 hours ago",
        f"While TTL is off (see 'table TTL'), `{command('clearsessions --force')}` deletes them."
        " While it is on, see TimeToLiveDeletedItemCount in CloudWatch: AWS is late, or does not"
        " delete items that expired more than five years ago.",
    )


def _size(sample: Sample) -> Finding:
    detail = f"the largest has {sample.largest:,} of {ITEM_MAX_BYTES:,} bytes"
    if sample.largest <= LARGE:
        return ok("sample size", detail)
    return warning(
        "sample size",
        detail,
        "Store large data elsewhere and its key in the session: beyond the limit saving fails.",
    )


@report_errors("sample data keys")
def _data_keys(sample: Sample) -> Iterator[Finding]:
    """Unwrap a few data keys of live sessions that belong to this project by their owner.

    Ended sessions that only wait for TTL do not count, even if their KMS key is lost.
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
            f"Add the KMS key that wrapped them to {DECRYPT_KEY_IDS}, and restore"
            f" {NAMESPACE} and ENCRYPTION_CONTEXT: they must never change.",
        )
    else:
        yield ok(name, f"{len(tried)} tried, all unwrap")


def _unwraps(encrypted: bytes, period: int) -> bool:
    try:
        run_sync(build_kms_keyring(services().config).unwrap(encrypted, period))
    except (InvalidRecord, IncorrectKey):
        return False
    return True


@report_errors("not-before")
def not_before_findings() -> Iterator[Finding]:
    """Check the cutoff of the sessions, and those of the names that installed apps use."""
    found = [_cutoff(name) for name in (None, *sorted(known_names()))]
    yield from [each for each in found if each.level is not Level.OK] or found[:1]


def _cutoff(name: str | None) -> Finding:
    whose = "the item" if name is None else f"the item of {name}"
    again = (
        f"`{command('end_sessions --all')}`"
        if name is None
        else f"`{command(f'end_sessions --before <now> --provider {name}')}`"
    )
    try:
        ahead = round(run_sync(services().not_before_items.get(name)) - services().clock())
    except InvalidRecord:
        return failing(
            "not-before",
            f"{whose} cannot be read: visitors get 503",
            f"Delete it, and immediately run {again}.",
        )
    if ahead <= 0:
        return ok("not-before", "no cutoff is in the future")
    if ahead + services().clock() > latest(services().clock()):
        return failing(
            "not-before",
            f"{whose} is {ahead:,} s in the future: ignored until it is near, and then nobody stays"
            " signed in; sessions that an earlier cutoff had ended may be valid again",
            f"Find out whose clock was wrong, or who writes to the table; then run {again}.",
        )
    return warning(
        "not-before",
        f"{whose} is {ahead} s in the future: sessions that begin before it end",
        "Wait.",
    )
