"""The operations that create, describe, enable, disable, delete and replicate keys.

Differences from AWS: descriptions and tags are accepted but not stored; automatic rotation can be
enabled, disabled and read, but no key is rotated; a key whose deletion is scheduled stays in that
state, since keys are never deleted; a primary key does not wait for its replicas.
"""

import time
import uuid
from dataclasses import replace

from . import policy
from .keys import DISABLED, ENABLED, HMAC, PENDING_DELETION, SYMMETRIC, USAGES, Key
from .request import (
    ACCOUNT,
    MAC_ALGORITHM,
    KMSError,
    Request,
    Response,
    register_operation,
    require_enabled,
    require_not_pending,
)

DAY = 24 * 60 * 60
REGION = r"([a-z]+-){2,3}[0-9]+"
ALIAS = "alias/[a-zA-Z0-9/_-]+"
ROTATION_DAYS = 365
# The quota "Key policy document size", AWS KMS Developer Guide, "Resource quotas".
MAX_POLICY = 32 * 1024


@register_operation("CreateKey", "Description", "KeySpec", "KeyUsage", "MultiRegion", "Tags")
def create_key(request: Request) -> Response:
    spec = request.get_text("KeySpec", pattern="|".join(USAGES)) or SYMMETRIC
    usage = request.get_text("KeyUsage", pattern="|".join(USAGES.values())) or USAGES[SYMMETRIC]
    if usage != USAGES[spec]:
        text = f"KeyUsage {usage} is not compatible with KeySpec {spec}"
        raise KMSError("ValidationException", text)
    multi_region = request.get_flag("MultiRegion")
    region = request.caller.region
    key = Key(
        account=ACCOUNT,
        region=region,
        key_id=f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4()),
        created=time.time(),
        policy=policy.build_default(ACCOUNT),
        primary_region=region if multi_region else None,
        spec=spec,
    )
    request.store.put_key(key)
    request.store.add_material(key)
    return {"KeyMetadata": _describe(request, key)}


@register_operation("ReplicateKey", "KeyId", "ReplicaRegion")
def replicate_key(request: Request) -> Response:
    region = request.get_required_text("ReplicaRegion", maximum=32, pattern=REGION)
    key = request.find_key()
    if key.primary_region != key.region:
        raise KMSError("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary.")
    require_enabled(key)
    if region in request.store.get_related(key):
        raise KMSError("AlreadyExistsException", f"{key.arn} is in {region} already.")
    replica = replace(key, region=region, created=time.time(), policy=policy.build_default(ACCOUNT))
    request.store.put_key(replica)
    # AWS returns the transient state Creating; here the replica can be used at once.
    return {"ReplicaKeyMetadata": _describe(request, replica)}


@register_operation("DescribeKey", "KeyId")
def describe_key(request: Request) -> Response:
    return {"KeyMetadata": _describe(request, request.find_key_or_alias("KeyId", "DescribeKey"))}


@register_operation("EnableKey", "KeyId")
def enable_key(request: Request) -> Response:
    return _set_state(request, ENABLED)


@register_operation("DisableKey", "KeyId")
def disable_key(request: Request) -> Response:
    return _set_state(request, DISABLED)


@register_operation("ScheduleKeyDeletion", "KeyId", "PendingWindowInDays")
def schedule_key_deletion(request: Request) -> Response:
    days = request.get_integer("PendingWindowInDays", 7, 30) or 30
    key = request.find_key()
    require_not_pending(key)
    date = time.time() + days * DAY
    request.store.put_key(replace(key, state=PENDING_DELETION, deletion_date=date))
    return {"KeyId": key.arn, "KeyState": PENDING_DELETION, "DeletionDate": date}


@register_operation("CancelKeyDeletion", "KeyId")
def cancel_key_deletion(request: Request) -> Response:
    key = request.find_key()
    if key.state in (ENABLED, DISABLED):
        raise KMSError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    request.store.put_key(replace(key, state=DISABLED, deletion_date=None))
    return {"KeyId": key.arn}


@register_operation("PutKeyPolicy", "KeyId", "Policy", "PolicyName")
def put_key_policy(request: Request) -> Response:
    text = request.get_required_text("Policy", maximum=MAX_POLICY)
    request.get_text("PolicyName", pattern="default")
    key = request.find_key()
    try:
        policy.parse(text)
    except policy.InvalidPolicy as error:
        raise KMSError("MalformedPolicyDocumentException", f"The key policy {error}.") from None
    request.store.put_key(replace(key, policy=text))
    return {}


@register_operation("GetKeyPolicy", "KeyId", "PolicyName")
def get_key_policy(request: Request) -> Response:
    request.get_text("PolicyName", pattern="default")
    return {"Policy": request.find_key().policy, "PolicyName": "default"}


@register_operation("EnableKeyRotation", "KeyId")
def enable_key_rotation(request: Request) -> Response:
    return _set_rotation(request, ROTATION_DAYS)


@register_operation("DisableKeyRotation", "KeyId")
def disable_key_rotation(request: Request) -> Response:
    return _set_rotation(request, None)


@register_operation("GetKeyRotationStatus", "KeyId")
def get_key_rotation_status(request: Request) -> Response:
    key = request.find_key()
    primary = request.store.get_related(key)[key.primary_region or key.region]
    days = primary.rotation_period
    if days is None or key.state != ENABLED:
        return {"KeyRotationEnabled": False}
    return {"KeyRotationEnabled": True, "RotationPeriodInDays": days}


@register_operation("CreateAlias", "AliasName", "TargetKeyId")
def create_alias(request: Request) -> Response:
    arn = _get_alias_arn(request)
    key = request.find_key("TargetKeyId")
    require_not_pending(key)
    if request.store.get_alias_target(arn):
        raise KMSError("AlreadyExistsException", f"An alias with the name {arn} already exists")
    request.store.put_alias(arn, key)
    return {}


@register_operation("UpdateAlias", "AliasName", "TargetKeyId")
def update_alias(request: Request) -> Response:
    arn = _get_alias_arn(request)
    request.find_key_or_alias("AliasName", "UpdateAlias")  # both keys' policies must allow it
    key = request.find_key("TargetKeyId")
    require_not_pending(key)
    request.store.put_alias(arn, key)
    return {}


def _get_alias_arn(request: Request) -> str:
    name = request.get_required_text("AliasName", maximum=256, pattern=ALIAS)
    if name.startswith("alias/aws/"):
        raise KMSError("NotAuthorizedException", "alias/aws/ is reserved for AWS.")
    return request.build_arn(name)


def _set_state(request: Request, state: str) -> Response:
    key = request.find_key()
    require_not_pending(key)
    request.store.put_key(replace(key, state=state))
    return {}


def _set_rotation(request: Request, days: int | None) -> Response:
    key = request.find_key()
    if key.is_replica:
        raise KMSError("UnsupportedOperationException", f"{key.arn} is a replica: use its primary.")
    if key.spec == HMAC:
        raise KMSError("UnsupportedOperationException", f"{key.arn} is not a symmetric key.")
    require_enabled(key)
    request.store.put_key(replace(key, rotation_period=days))
    return {}


def _describe(request: Request, key: Key) -> Response:
    metadata: dict[str, object] = {
        "KeyId": key.key_id,
        "Arn": key.arn,
        "KeyUsage": USAGES[key.spec],
        "KeyState": key.state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "KeySpec": key.spec,
        "MultiRegion": key.primary_region is not None,
    }
    if key.spec == HMAC:
        metadata["MacAlgorithms"] = [MAC_ALGORITHM]
    if key.deletion_date is not None:
        metadata["DeletionDate"] = key.deletion_date
    if key.primary_region is not None:
        metadata["MultiRegionConfiguration"] = _describe_regions(request, key)
    return metadata


def _describe_regions(request: Request, key: Key) -> Response:
    related = request.store.get_related(key)
    entries = {region: {"Arn": each.arn, "Region": region} for region, each in related.items()}
    return {
        "MultiRegionKeyType": "REPLICA" if key.is_replica else "PRIMARY",
        "PrimaryKey": entries.pop(key.primary_region or key.region),
        "ReplicaKeys": list(entries.values()),
    }
