"""The KMS keys, as DescribeKey tells them: fit to seal sessions, and not about to be lost."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sessions_kms.aws import clients, kms
from sessions_kms.conf import Config
from sessions_kms.doctor import named
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.trouble import NO_KEY, guarded, in_time
from sessions_kms.operations.provisioning import describe_or_none

DESCRIBE, ROTATION = "kms:DescribeKey", "kms:GetKeyRotationStatus"

Description = Mapping[str, Any]


def kms_findings(config: Config, table_regions: Sequence[str]) -> Iterator[Finding]:
    """Look at the current key and at the previous ones.

    ``table_regions`` are the Regions that the table is replicated to.
    """
    yield from guarded("kms key", partial(_current, config, table_regions), needs=DESCRIBE)
    yield from guarded("previous kms keys", partial(_previous, config), needs=DESCRIBE)


def _current(config: Config, table_regions: Sequence[str]) -> Iterator[Finding]:
    key = _described(config.key_id)
    if key is None:
        yield failing("kms key", f"{config.key_id} does not exist", NO_KEY)
        return
    yield _state(key)
    yield _type(key)
    yield _manager(key)
    yield from guarded("kms key rotation", partial(_rotation, key), needs=ROTATION)
    yield _regions(key, table_regions)


def _described(arn: str) -> Any:
    client = clients.control_client("kms", kms.region_of(arn))
    return describe_or_none(lambda: in_time(partial(client.describe_key, KeyId=arn))["KeyMetadata"])


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
            f" `aws kms enable-key --key-id {key_id}`: without it every session is lost."
        )
    else:
        remedy = f"Wait until KMS reports it Enabled, or set {named.KEY} to another."
    return failing("kms key", state, remedy)


def _type(key: Description) -> Finding:
    kind = key.get("KeySpec"), key.get("KeyUsage")
    detail = f"{kind[0]} for {kind[1]}"
    if kind == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        return ok("kms key type", detail)
    return failing(
        "kms key type",
        detail,
        "A symmetric encryption key is needed: `manage.py create_session_store --create-key`"
        f" makes one; set {named.KEY} to its ARN.",
    )


def _manager(key: Description) -> Finding:
    detail = f"managed by {key['KeyManager']}"
    if key["KeyManager"] == "CUSTOMER":
        return ok("kms key manager", detail)
    return failing(
        "kms key manager",
        detail,
        "Only of a customer-managed key the policy is yours to decide:"
        " `manage.py create_session_store --create-key` makes one;"
        f" set {named.KEY} to its ARN.",
    )


def _rotation(key: Description) -> Iterator[Finding]:
    arn = key["Arn"]
    client = clients.control_client("kms", kms.region_of(arn))
    answer = in_time(partial(client.get_key_rotation_status, KeyId=arn))
    if answer["KeyRotationEnabled"]:
        yield ok("kms key rotation", f"every {answer.get('RotationPeriodInDays', 365)} days")
    elif key["KeyState"] != "Enabled":
        yield ok("kms key rotation", "none while the key is not enabled")
    elif key.get("Origin", "AWS_KMS") != "AWS_KMS":
        yield ok("kms key rotation", f"none for a key of origin {key['Origin']}: rotate by hand")
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
            f"of {home} alone, but the table is in {', '.join(lacking)} too:"
            " no session can be read there",
            "Move to a multi-Region key (docs/multi-region.md):"
            " `manage.py rewrap_sessions` moves the records.",
        )
    return warning(
        name,
        f"no replica in {', '.join(lacking)}, where the table is: no session can be read there",
        f"`aws kms replicate-key --key-id {key['KeyId']} --replica-region {lacking[0]}`",
    )


def _previous(config: Config) -> Iterator[Finding]:
    name = "previous kms keys"
    faults = [fault for arn in config.decrypt_key_ids if (fault := _fault(arn))]
    if not config.decrypt_key_ids:
        yield ok(name, "none")
    elif faults:
        yield failing(
            name,
            "; ".join(faults),
            "Enable the key, or cancel its deletion, and run `manage.py rewrap_sessions`;"
            f" or, where it is lost, take it from {named.PREVIOUS_KEYS} and run"
            " `manage.py end_sessions --all`.",
        )
    else:
        yield ok(name, f"{len(config.decrypt_key_ids)}, enabled")


def _fault(arn: str) -> str:
    key = _described(arn)
    if key is None:
        return f"{arn} does not exist"
    return "" if key["KeyState"] == "Enabled" else f"{arn} is {key['KeyState']}"
