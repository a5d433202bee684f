"""The operations on key rotation: new material for the same key, what is old still opens.

Related multi-Region keys share their rotation: it is set on the primary, and a replica shows it.
"""

from __future__ import annotations

from dataclasses import replace

from .errors import KMSError
from .keys import DAY, ENABLED, Key, Material
from .protocol import Answer, Call, operation, page, require_enabled

# API_RotateKeyOnDemand: "a maximum of 25 times per KMS key".
MAX_ON_DEMAND = 25


@operation("EnableKeyRotation")
def enable_key_rotation(call: Call) -> Answer:
    days = call.parameters.integer("RotationPeriodInDays", 90, 2560) or 365
    key = _primary(call, "EnableKeyRotation")
    with call.store.transaction():
        next_rotation = call.now + days * DAY
        call.store.put_key(replace(key, rotation_period=days, next_rotation=next_rotation))
    return {}


@operation("DisableKeyRotation")
def disable_key_rotation(call: Call) -> Answer:
    key = _primary(call, "DisableKeyRotation")
    with call.store.transaction():
        call.store.put_key(replace(key, rotation_period=None, next_rotation=None))
    return {}


@operation("GetKeyRotationStatus")
def get_key_rotation_status(call: Call) -> Answer:
    key = call.key("GetKeyRotationStatus")
    shared = call.store.primary(key)
    enabled = shared.rotation_period is not None and key.state == ENABLED
    answer: dict[str, object] = {"KeyId": key.key_id, "KeyRotationEnabled": enabled}
    if enabled:
        answer["RotationPeriodInDays"] = shared.rotation_period
        answer["NextRotationDate"] = shared.next_rotation
    return answer


@operation("RotateKeyOnDemand")
def rotate_key_on_demand(call: Call) -> Answer:
    key = _primary(call, "RotateKeyOnDemand")
    done = [m for m in call.store.materials(key) if m.rotation == "ON_DEMAND"]
    if len(done) >= MAX_ON_DEMAND:
        raise KMSError(
            "LimitExceededException", f"{key.arn} was rotated on demand {MAX_ON_DEMAND} times."
        )
    with call.store.transaction():
        call.store.add_material(key, call.now, "ON_DEMAND")
    return {"KeyId": key.key_id}


@operation("ListKeyRotations")
def list_key_rotations(call: Call) -> Answer:
    kinds = ("ALL_KEY_MATERIAL", "ROTATIONS_ONLY")
    every = call.parameters.choice("IncludeKeyMaterial", kinds) == "ALL_KEY_MATERIAL"
    key = call.key("ListKeyRotations")
    materials = list(enumerate(call.store.materials(key)))
    shown = materials if every else materials[1:]
    found, paging = page(call, shown, lambda numbered: f"{numbered[0]:04d}")
    current = materials[-1][1]
    return {"Rotations": [_entry(key, m, m is current) for _, m in found], **paging}


def _entry(key: Key, material: Material, current: bool) -> Answer:
    entry: dict[str, object] = {
        "KeyId": key.key_id,
        "KeyMaterialId": material.material_id,
        "KeyMaterialState": "CURRENT" if current else "NON_CURRENT",
    }
    if material.rotation is not None:
        entry |= {"RotationDate": material.created, "RotationType": material.rotation}
    return entry


def _primary(call: Call, action: str) -> Key:
    key = call.own_key(action)
    if key.is_replica:
        raise KMSError(
            "UnsupportedOperationException", f"{key.arn} is a replica: ask its primary key."
        )
    require_enabled(key)
    return key
