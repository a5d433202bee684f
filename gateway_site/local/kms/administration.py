"""The operations that create, describe, enable, disable, delete and replicate keys."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace

from . import policy
from .errors import KMSError, invalid
from .keys import (
    DAY,
    DISABLED,
    ENABLED,
    PENDING_DELETION,
    PENDING_REPLICA_DELETION,
    Key,
)
from .parameters import MAX_TAGS
from .protocol import (
    REGION,
    Answer,
    Call,
    operation,
    page,
    require_enabled,
    require_not_pending,
)

USAGES = (
    "SIGN_VERIFY",
    "ENCRYPT_DECRYPT",
    "GENERATE_VERIFY_MAC",
    "KEY_AGREEMENT",
    "ENCAPSULATE_DECAPSULATE",
)
SYMMETRIC = "SYMMETRIC_DEFAULT"


@operation("CreateKey")
def create_key(call: Call) -> Answer:
    _check_kind(call)
    account, region = call.caller.account, call.caller.region
    multi_region = call.parameters.flag("MultiRegion")
    key = Key(
        account=account,
        region=region,
        key_id=f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4()),
        created=call.now,
        policy=_new_policy(call) or policy.default(account),
        description=_description(call),
        primary_region=region if multi_region else None,
        tags=call.parameters.tags(),
    )
    with call.store.transaction():
        call.store.put_key(key)
        call.store.add_material(key, call.now)
    return {"KeyMetadata": _metadata(call, key)}


@operation("ReplicateKey")
def replicate_key(call: Call) -> Answer:
    region = call.parameters.required_text("ReplicaRegion", maximum=32, pattern=REGION)
    key = call.own_key("ReplicateKey")
    if not key.is_primary:
        raise KMSError("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary.")
    require_enabled(key)
    replica = Key(
        account=key.account,
        region=region,
        key_id=key.key_id,
        created=call.now,
        policy=_new_policy(call) or policy.default(key.account),
        description=_description(call),
        primary_region=key.region,
        tags=call.parameters.tags(),
    )
    if call.store.key(key.account, region, key.key_id):
        raise KMSError("AlreadyExistsException", f"{replica.arn} already exists.")
    with call.store.transaction():
        call.store.put_key(replica)
    # AWS answers with the transient state Creating; here the replica can be used at once.
    return {
        "ReplicaKeyMetadata": _metadata(call, replica),
        "ReplicaPolicy": replica.policy,
        "ReplicaTags": _tag_list(replica.tags),
    }


@operation("DescribeKey")
def describe_key(call: Call) -> Answer:
    key = call.key_or_alias(call.parameters.required_text("KeyId"), "DescribeKey")
    return {"KeyMetadata": _metadata(call, key)}


@operation("ListKeys")
def list_keys(call: Call) -> Answer:
    keys = call.store.keys(call.caller.account, call.caller.region)
    found, paging = page(call, keys, lambda key: key.key_id)
    return {"Keys": [{"KeyId": key.key_id, "KeyArn": key.arn} for key in found], **paging}


@operation("EnableKey")
def enable_key(call: Call) -> Answer:
    return _set_state(call, "EnableKey", ENABLED)


@operation("DisableKey")
def disable_key(call: Call) -> Answer:
    return _set_state(call, "DisableKey", DISABLED)


@operation("ScheduleKeyDeletion")
def schedule_key_deletion(call: Call) -> Answer:
    days = call.parameters.integer("PendingWindowInDays", 7, 30) or 30
    key = call.own_key("ScheduleKeyDeletion")
    require_not_pending(key)
    waits = key.is_primary and len(call.store.related(key)) > 1
    pending = replace(
        key,
        state=PENDING_REPLICA_DELETION if waits else PENDING_DELETION,
        deletion_date=None if waits else call.now + days * DAY,
        pending_window=days,
    )
    _put(call, pending)
    answer = {"KeyId": key.arn, "KeyState": pending.state, "PendingWindowInDays": days}
    return answer | ({} if waits else {"DeletionDate": pending.deletion_date})


@operation("CancelKeyDeletion")
def cancel_key_deletion(call: Call) -> Answer:
    key = call.own_key("CancelKeyDeletion")
    if key.state in (ENABLED, DISABLED):
        raise KMSError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    _put(call, replace(key, state=DISABLED, deletion_date=None, pending_window=None))
    return {"KeyId": key.arn}


@operation("GetKeyPolicy")
def get_key_policy(call: Call) -> Answer:
    key = call.own_key("GetKeyPolicy")
    _check_policy_name(call)
    return {"Policy": key.policy, "PolicyName": "default"}


@operation("PutKeyPolicy")
def put_key_policy(call: Call) -> Answer:
    call.parameters.required_text("Policy", maximum=131072)
    key = call.own_key("PutKeyPolicy")
    _check_policy_name(call)
    _put(call, replace(key, policy=_new_policy(call) or key.policy))
    return {}


@operation("TagResource")
def tag_resource(call: Call) -> Answer:
    tags = call.parameters.tags()
    key = call.own_key("TagResource")
    require_not_pending(key)
    if len(key.tags | tags) > MAX_TAGS:
        raise KMSError("LimitExceededException", f"A key has at most {MAX_TAGS} tags.")
    _put(call, replace(key, tags=key.tags | tags))
    return {}


@operation("UntagResource")
def untag_resource(call: Call) -> Answer:
    names = call.parameters.texts("TagKeys", count=MAX_TAGS, maximum=128)
    key = call.own_key("UntagResource")
    require_not_pending(key)
    _put(call, replace(key, tags={k: v for k, v in key.tags.items() if k not in names}))
    return {}


@operation("ListResourceTags")
def list_resource_tags(call: Call) -> Answer:
    key = call.own_key("ListResourceTags")
    found, paging = page(call, key.tags, lambda name: name, limit=50)
    return {"Tags": _tag_list({name: key.tags[name] for name in found}), **paging}


def _set_state(call: Call, action: str, state: str) -> Answer:
    key = call.own_key(action)
    require_not_pending(key)
    _put(call, replace(key, state=state))
    return {}


def _put(call: Call, key: Key) -> None:
    with call.store.transaction():
        call.store.put_key(key)


def _check_kind(call: Call) -> None:
    """Refuse every kind of key but a symmetric one with material of KMS's own."""
    call.parameters.refuse("CustomKeyStoreId", "XksKeyId")
    usage = call.parameters.choice("KeyUsage", USAGES)
    spec = call.parameters.text("KeySpec")
    old_spec = call.parameters.text("CustomerMasterKeySpec")
    if spec and old_spec:
        raise invalid("KeySpec and CustomerMasterKeySpec may not be specified together.")
    if (spec or old_spec or SYMMETRIC) != SYMMETRIC:
        raise _unsupported("KeySpec", SYMMETRIC)
    if usage not in (None, "ENCRYPT_DECRYPT"):
        raise invalid(f"KeyUsage {usage} is not compatible with KeySpec {SYMMETRIC}.")
    if call.parameters.text("Origin") not in (None, "AWS_KMS"):
        raise _unsupported("Origin", "AWS_KMS")


def _unsupported(name: str, only: str) -> KMSError:
    return KMSError("UnsupportedOperationException", f"This local KMS knows no {name} but {only}.")


def _description(call: Call) -> str:
    return call.parameters.text("Description", minimum=0, maximum=8192) or ""


def _new_policy(call: Call) -> str | None:
    """Return the policy that is to be set; refuse one that locks the caller out."""
    text = call.parameters.text("Policy", maximum=131072)
    if text is None:
        return None
    if re.search(r"[^\t\n\r\u0020-\u00ff]", text):
        raise KMSError("MalformedPolicyDocumentException", "The key policy is not Latin-1 text.")
    bypass = call.parameters.flag("BypassPolicyLockoutSafetyCheck")
    caller = call.caller
    allowed = policy.allows(text, caller.account, caller.arn, "kms:PutKeyPolicy")
    if not allowed and not bypass:
        raise KMSError(
            "MalformedPolicyDocumentException",
            "The new key policy will not allow you to update the key policy in the future.",
        )
    return text


def _check_policy_name(call: Call) -> None:
    if call.parameters.text("PolicyName", maximum=128) not in (None, "default"):
        raise KMSError("NotFoundException", "No such policy exists")


def _tag_list(tags: dict[str, str]) -> list[Answer]:
    return [{"TagKey": name, "TagValue": value} for name, value in tags.items()]


def _metadata(call: Call, key: Key) -> Answer:
    metadata: dict[str, object] = {
        "AWSAccountId": key.account,
        "KeyId": key.key_id,
        "Arn": key.arn,
        "CreationDate": key.created,
        "Enabled": key.state == ENABLED,
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": key.state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": SYMMETRIC,
        "KeySpec": SYMMETRIC,
        "EncryptionAlgorithms": [SYMMETRIC],
        "MultiRegion": key.primary_region is not None,
        "CurrentKeyMaterialId": call.store.materials(key)[-1].material_id,
    }
    if key.deletion_date is not None:
        metadata["DeletionDate"] = key.deletion_date
    if key.state == PENDING_REPLICA_DELETION:
        metadata["PendingDeletionWindowInDays"] = key.pending_window
    if key.primary_region is not None:
        metadata["MultiRegionConfiguration"] = _multi_region(call, key)
    return metadata


def _multi_region(call: Call, key: Key) -> Answer:
    entries = {k.region: {"Arn": k.arn, "Region": k.region} for k in call.store.related(key)}
    return {
        "MultiRegionKeyType": "PRIMARY" if key.is_primary else "REPLICA",
        "PrimaryKey": entries.pop(key.primary_region or key.region),
        "ReplicaKeys": list(entries.values()),
    }
