"""The KMS keys, and the data key of the current period."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from sessions_kms.aws import clients, kms
from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.trouble import DECRYPT_KEY_IDS, KEY_ID, NO_KEY, in_time, report_errors
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format.item_types import data_key_id
from sessions_kms.hints import command, page
from sessions_kms.operations.provisioning import describe_or_none
from sessions_kms.services import build_kms_keyring, services
from sessions_kms.storage.published_keys import PREPARED_AHEAD
from sessions_kms.storage.suspect_responses import Confirm


@dataclass
class Measurements:
    """Latencies of the engine in milliseconds, by name, and the number of KMS calls."""

    latencies: dict[str, float] = field(default_factory=dict)
    kms_calls: int = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a block, even one that fails."""
        began = perf_counter()
        try:
            yield
        finally:
            self.latencies[name] = round((perf_counter() - began) * 1000, 1)

    @contextmanager
    def kms_calls_counted(self, config: Config) -> Iterator[None]:
        """Count the calls of this process to the KMS of the configured keys."""
        regions = {kms.region_of(key) for key in (config.key_id, *config.decrypt_key_ids)}
        events = [clients.kms_client(region).meta.events for region in regions]
        for each in events:
            each.register("before-call.kms", self._count)
        try:
            yield
        finally:
            for each in events:
                each.unregister("before-call.kms", self._count)

    def _count(self, **_: Any) -> None:
        self.kms_calls += 1


PERIODS_AHEAD = 30
DESCRIBE, ROTATION = "kms:DescribeKey", "kms:GetKeyRotationStatus"

Description = Mapping[str, Any]


def kms_findings(config: Config, table_regions: Sequence[str]) -> Iterator[Finding]:
    """Check the current key and the previous ones.

    ``table_regions`` are the Regions that the table is replicated to.
    """
    yield from _current(config, table_regions)
    yield from _previous(config)


@report_errors("kms key", needs=DESCRIBE)
def _current(config: Config, table_regions: Sequence[str]) -> Iterator[Finding]:
    client = clients.control_client("kms", kms.region_of(config.key_id))
    key = describe_key(client, config.key_id)
    if key is None:
        region, home = clients.find_region(config.region_name), kms.region_of(config.key_id)
        apart = "" if region == home else f"; the session table is in {region}"
        yield failing("kms key", f"{missing(config.key_id)}{apart}", NO_KEY)
        return
    yield _state(key)
    yield _type(key)
    yield _manager(key)
    yield from _rotation(client, key)
    yield _regions(key, table_regions)


def describe_key(client: Any, arn: str) -> Any:
    """Return what KMS tells of a key, or None if there is none."""
    return describe_or_none(lambda: in_time(partial(client.describe_key, KeyId=arn))["KeyMetadata"])


def missing(arn: str) -> str:
    """Return the detail of a finding about a key that does not exist."""
    return f"{arn} does not exist in {kms.region_of(arn)}"


def _state(key: Description) -> Finding:
    state, key_id = key["KeyState"], key["KeyId"]
    if state == "Enabled":
        return ok("kms key", state)
    if state == "Disabled":
        remedy = f"`aws kms enable-key --key-id {key_id}`"
    elif "DeletionDate" in key or "Deletion" in state:
        state += f" on {key['DeletionDate']:%Y-%m-%d}" if "DeletionDate" in key else ""
        remedy = (
            f"`aws kms cancel-key-deletion --key-id {key_id}`, then"
            f" `aws kms enable-key --key-id {key_id}`: without the key every session is lost."
        )
    else:
        remedy = f"Wait until KMS reports it Enabled, or set {KEY_ID} to another key."
    return failing("kms key", state, remedy)


def _type(key: Description) -> Finding:
    kind = key.get("KeySpec"), key.get("KeyUsage")
    detail = f"{kind[0]} for {kind[1]}"
    if kind == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        return ok("kms key type", detail)
    return failing(
        "kms key type",
        detail,
        f"A symmetric encryption key is required: `{command('create_session_store --create-key')}`"
        f" creates one; set {KEY_ID} to its ARN.",
    )


def _manager(key: Description) -> Finding:
    detail = f"managed by {key['KeyManager']}"
    if key["KeyManager"] == "CUSTOMER":
        return ok("kms key manager", detail)
    return failing(
        "kms key manager",
        detail,
        "Only the policy of a customer-managed key can be changed:"
        f" `{command('create_session_store --create-key')}` creates one;"
        f" set {KEY_ID} to its ARN.",
    )


@report_errors("kms key rotation", needs=ROTATION)
def _rotation(client: Any, key: Description) -> Iterator[Finding]:
    response = in_time(partial(client.get_key_rotation_status, KeyId=key["Arn"]))
    if response["KeyRotationEnabled"]:
        yield ok("kms key rotation", f"every {response.get('RotationPeriodInDays', 365)} days")
    elif key["KeyState"] != "Enabled":
        yield ok("kms key rotation", "none while the key is not enabled")
    elif key.get("Origin", "AWS_KMS") != "AWS_KMS":
        yield ok(
            "kms key rotation", f"none for a key of origin {key['Origin']}: rotate it manually"
        )
    else:
        yield warning(
            "kms key rotation", "off", f"`aws kms enable-key-rotation --key-id {key['KeyId']}`"
        )


def _regions(key: Description, table_regions: Sequence[str]) -> Finding:
    name, home = "kms key Regions", kms.region_of(key["Arn"])
    spread = key.get("MultiRegionConfiguration", {})
    regions = {
        each["Region"]
        for each in [spread.get("PrimaryKey"), *spread.get("ReplicaKeys", [])]
        if each
    } or {home}
    lacking = sorted(set(table_regions) - regions)
    if not lacking:
        return ok(name, ", ".join(sorted(regions)))
    if not key.get("MultiRegion"):
        return warning(
            name,
            f"only {home}, but the table is also in {', '.join(lacking)}:"
            " no session can be read there",
            f"Move to a multi-Region key ({page('multi-region')}):"
            f" `{command('rewrap_sessions')}` moves the records.",
        )
    return warning(
        name,
        f"no replica in {', '.join(lacking)}, where the table is: no session can be read there",
        f"`aws kms replicate-key --key-id {key['KeyId']} --replica-region {lacking[0]}`",
    )


@report_errors("previous kms keys", needs=DESCRIBE)
def _previous(config: Config) -> Iterator[Finding]:
    name = "previous kms keys"
    faults = [fault for arn in config.decrypt_key_ids if (fault := _key_fault(arn))]
    if not config.decrypt_key_ids:
        yield ok(name, "none")
    elif faults:
        yield failing(
            name,
            "; ".join(faults),
            f"Enable the key or cancel its deletion, and run `{command('rewrap_sessions')}`."
            f" If it is lost, remove it from {DECRYPT_KEY_IDS} and run"
            f" `{command('end_sessions --all')}`.",
        )
    else:
        yield ok(name, f"{len(config.decrypt_key_ids)}, enabled")


def _key_fault(arn: str) -> str:
    key = describe_key(clients.control_client("kms", kms.region_of(arn)), arn)
    if key is None:
        return missing(arn)
    return "" if key["KeyState"] == "Enabled" else f"{arn} is {key['KeyState']}"


@report_errors("data key")
def data_key_findings(measured: Measurements, *, writes: bool) -> Iterator[Finding]:
    """Check the published data key. With ``writes`` the engine first uses it, as requests do."""
    config = services().config
    if writes:
        with measured.kms_calls_counted(config), measured.timed("data key"):
            run_sync(services().sealing_key())
    if config.data_key_period:
        yield _published_data_key(config)
        yield _prepared_data_keys(config)
    else:
        yield ok("data key", "strict mode: each write has its own data key")


def _published_data_key(config: Config) -> Finding:
    period = services().period()
    try:
        item = run_sync(services().data_key_items.get(period))
        if item is None:
            return ok("data key", "not published yet: the first write of the period publishes it")
        key = run_sync(build_kms_keyring(config).unwrap(item.encrypted, period))
    except IncorrectKey:
        return _unusable_data_key(config, period, "wrapped by a KMS key that is not configured")
    except InvalidRecord:
        return _unusable_data_key(
            config, period, "damaged, or wrapped with another ENCRYPTION_CONTEXT"
        )
    except KMSUnavailable as exc:
        if exc.refused_key in (None, config.key_id):
            raise
        return _unusable_data_key(
            config, period, f"wrapped by {exc.refused_key}, which KMS refuses to use"
        )
    return _usable_data_key(config, key)


def _prepared_data_keys(config: Config) -> Finding:
    """Look for data keys of coming periods: processes publish one a few minutes before."""
    name, length = "data keys ahead", config.period_length
    first = services().period_of(services().clock() + PREPARED_AHEAD) + length
    prepared = [
        period
        for period in range(first, first + PERIODS_AHEAD * length, length)
        if _is_stored(data_key_id(config.namespace, period))
    ]
    if not prepared:
        return ok(name, f"none of {PERIODS_AHEAD} later periods has one")
    return failing(
        name,
        f"{len(prepared)} of {PERIODS_AHEAD} later periods have one: somebody who knows them"
        " prepared them",
        f"Follow {page('operations', 'Leaked role')}: remove that role's rights; then"
        f" `{command('end_sessions --key-period ' + str(services().period()))}` deletes them.",
    )


def _is_stored(item_id: str) -> bool:
    return run_sync(services().table.get(item_id, only=("id",), confirm=Confirm.NEVER)) is not None


def _usable_data_key(config: Config, key: DataKey) -> Finding:
    if key.kms_key_id == config.key_id:
        return ok("data key", f"published, and wrapped by {KEY_ID}")
    return warning(
        "data key",
        f"wrapped by the previous key {key.kms_key_id}",
        f"Run `{command('rewrap_sessions')}` before you empty {DECRYPT_KEY_IDS}.",
    )


def _unusable_data_key(config: Config, period: int, what: str) -> Finding:
    """Return the finding of an item that costs KMS calls, as each process seals with its own."""
    item_id = data_key_id(config.namespace, period)
    return warning(
        "data key",
        f"the published data key cannot be used: it is {what}",
        f"Add the KMS key that wrapped it to {DECRYPT_KEY_IDS}, or delete the item, and the next"
        f" write publishes another: `aws dynamodb delete-item --table-name {config.table_name}"
        f""" --key '{{"id": {{"S": "{item_id}"}}}}'`""",
    )
