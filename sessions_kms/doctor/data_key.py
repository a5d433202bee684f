"""The data key of the current period: published, and of use to whoever reads it."""

from collections.abc import Iterator
from functools import partial

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.doctor import named
from sessions_kms.doctor.finding import Finding, ok, warning
from sessions_kms.doctor.measurements import Measurements
from sessions_kms.doctor.trouble import guarded
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format.kinds import data_key_id
from sessions_kms.services import build_kms_keyring, services

NAME = "data key"


def data_key_findings(measured: Measurements, *, writes: bool) -> Iterator[Finding]:
    """Look at the published data key. With ``writes`` the engine takes it first, as requests do."""
    yield from guarded(NAME, partial(_findings, measured, writes))


def _findings(measured: Measurements, writes: bool) -> Iterator[Finding]:
    config = services().config
    if writes:
        with measured.kms_calls_counted(config), measured.timed(NAME):
            run_sync(services().sealing_key())
    if config.data_key_period:
        yield _published(config)
    else:
        yield ok(NAME, "strict mode: each write has its own")


def _published(config: Config) -> Finding:
    period = services().period()
    try:
        item = run_sync(services().data_key_items.get(period))
        if item is None:
            return ok(NAME, "not published yet: the first write of the period does that")
        key = run_sync(build_kms_keyring(config).unwrap(item.encrypted, period))
    except IncorrectKey:
        return _useless(config, period, "wrapped by a KMS key that is not configured")
    except InvalidRecord:
        return _useless(config, period, "damaged, or made with another ENCRYPTION_CONTEXT")
    except KMSUnavailable as exc:
        if exc.refused_key in (None, config.key_id):
            raise
        return _useless(config, period, f"wrapped by {exc.refused_key}, which KMS refuses to use")
    return _usable(config, key)


def _usable(config: Config, key: DataKey) -> Finding:
    if key.kms_key_id == config.key_id:
        return ok(NAME, f"published, and wrapped by {named.KEY}")
    return warning(
        NAME,
        f"wrapped by the previous key {key.kms_key_id}",
        f"Run `manage.py rewrap_sessions`, before {named.PREVIOUS_KEYS} is emptied.",
    )


def _useless(config: Config, period: int, what: str) -> Finding:
    """Return the finding of an item that costs KMS calls: each process seals with its own key."""
    item_id = data_key_id(config.namespace, period)
    return warning(
        NAME,
        f"the published one cannot be used: it is {what}",
        f"Add the KMS key that wrapped it to {named.PREVIOUS_KEYS}, or delete it, and the next"
        f" write publishes another: `aws dynamodb delete-item --table-name {config.table_name}"
        f""" --key '{{"id": {{"S": "{item_id}"}}}}'`""",
    )
