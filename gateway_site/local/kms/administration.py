"""The operations that create, describe, name, enable and disable keys, and set their policies.

Differences from AWS: descriptions and tags are accepted but not stored; automatic rotation can be
enabled and read, but no key is rotated.
"""

import json
import time
import uuid
from dataclasses import replace

from .keys import DISABLED, ENABLED, HMAC, SYMMETRIC, USAGES, Key
from .request import (
    ACCOUNT,
    MAC_ALGORITHM,
    KMSError,
    Request,
    Response,
    register_operation,
    require_enabled,
)

ALIAS = "alias/[a-zA-Z0-9/_-]+"
ROTATION_DAYS = 365
# The quota "Key policy document size", AWS KMS Developer Guide, "Resource quotas".
MAX_POLICY = 32 * 1024
# What AWS attaches to a key that is created without one.
ADMINISTRATION = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "kms:*",
    "Resource": "*",
}
DEFAULT_POLICY = json.dumps({"Version": "2012-10-17", "Statement": [ADMINISTRATION]})


@register_operation("CreateKey", "Description", "KeySpec", "KeyUsage", "Tags")
def create_key(request: Request) -> Response:
    spec = request.get_text("KeySpec", pattern="|".join(USAGES)) or SYMMETRIC
    usage = request.get_text("KeyUsage", pattern="|".join(USAGES.values())) or USAGES[SYMMETRIC]
    if usage != USAGES[spec]:
        text = f"KeyUsage {usage} is not compatible with KeySpec {spec}"
        raise KMSError("ValidationException", text)
    key = Key(
        account=ACCOUNT,
        region=request.region,
        key_id=str(uuid.uuid4()),
        created=time.time(),
        policy=DEFAULT_POLICY,
        spec=spec,
    )
    request.store.put_key(key)
    request.store.add_material(key)
    return {"KeyMetadata": _describe(key)}


@register_operation("DescribeKey", "KeyId")
def describe_key(request: Request) -> Response:
    return {"KeyMetadata": _describe(request.find_key_or_alias("KeyId"))}


@register_operation("EnableKey", "KeyId")
def enable_key(request: Request) -> Response:
    return _set_state(request, ENABLED)


@register_operation("DisableKey", "KeyId")
def disable_key(request: Request) -> Response:
    return _set_state(request, DISABLED)


@register_operation("PutKeyPolicy", "KeyId", "Policy", "PolicyName")
def put_key_policy(request: Request) -> Response:
    text = request.get_required_text("Policy", maximum=MAX_POLICY)
    request.get_text("PolicyName", pattern="default")
    key = request.find_key()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        raise KMSError("MalformedPolicyDocumentException", "The policy is not JSON.") from None
    request.store.put_key(replace(key, policy=text))
    return {}


@register_operation("GetKeyPolicy", "KeyId", "PolicyName")
def get_key_policy(request: Request) -> Response:
    request.get_text("PolicyName", pattern="default")
    return {"Policy": request.find_key().policy, "PolicyName": "default"}


@register_operation("EnableKeyRotation", "KeyId")
def enable_key_rotation(request: Request) -> Response:
    key = request.find_key()
    if key.spec == HMAC:
        raise KMSError("UnsupportedOperationException", f"{key.arn} is not a symmetric key.")
    require_enabled(key)
    request.store.put_key(replace(key, rotation_period=ROTATION_DAYS))
    return {}


@register_operation("GetKeyRotationStatus", "KeyId")
def get_key_rotation_status(request: Request) -> Response:
    key = request.find_key()
    days = key.rotation_period
    if days is None or key.state != ENABLED:
        return {"KeyRotationEnabled": False}
    return {"KeyRotationEnabled": True, "RotationPeriodInDays": days}


@register_operation("CreateAlias", "AliasName", "TargetKeyId")
def create_alias(request: Request) -> Response:
    name = request.get_required_text("AliasName", maximum=256, pattern=ALIAS)
    if name.startswith("alias/aws/"):
        raise KMSError("NotAuthorizedException", "alias/aws/ is reserved for AWS.")
    arn = request.build_arn(name)
    key = request.find_key("TargetKeyId")
    if request.store.get_alias_target(arn):
        raise KMSError("AlreadyExistsException", f"An alias with the name {arn} already exists")
    request.store.put_alias(arn, key)
    return {}


def _set_state(request: Request, state: str) -> Response:
    request.store.put_key(replace(request.find_key(), state=state))
    return {}


def _describe(key: Key) -> Response:
    metadata: dict[str, object] = {
        "KeyId": key.key_id,
        "Arn": key.arn,
        "KeyUsage": USAGES[key.spec],
        "KeyState": key.state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "KeySpec": key.spec,
        "MultiRegion": False,
    }
    if key.spec == HMAC:
        metadata["MacAlgorithms"] = [MAC_ALGORITHM]
    return metadata
