"""The operations on HMAC keys.

They check in the same order as `encryption`: parameters, key, state, usage, MAC.
"""

import base64
import hmac

from .keys import HMAC, Key
from .request import (
    MAC_ALGORITHM,
    KMSError,
    Request,
    Response,
    register_operation,
    require_enabled,
    require_spec,
)

MAX_MESSAGE = 4096  # bytes
MAX_MAC = 6144


@register_operation("GenerateMac", "KeyId", "Message", "MacAlgorithm", "DryRun")
def generate_mac(request: Request) -> Response:
    key, mac = _compute_mac(request)
    request.end_dry_run()
    text = base64.b64encode(mac).decode("ascii")
    return {"Mac": text, "MacAlgorithm": MAC_ALGORITHM, "KeyId": key.arn}


@register_operation("VerifyMac", "KeyId", "Message", "Mac", "MacAlgorithm", "DryRun")
def verify_mac(request: Request) -> Response:
    given = request.get_blob("Mac", MAX_MAC)
    key, mac = _compute_mac(request)
    if not hmac.compare_digest(given, mac):
        raise KMSError("KMSInvalidMacException")
    request.end_dry_run()
    return {"MacValid": True, "MacAlgorithm": MAC_ALGORITHM, "KeyId": key.arn}


def _compute_mac(request: Request) -> tuple[Key, bytes]:
    """Return the key that the request names, and the MAC of its message."""
    message = request.get_blob("Message", MAX_MESSAGE)
    request.get_required_text("MacAlgorithm", pattern=MAC_ALGORITHM)
    key = request.find_key_or_alias("KeyId")
    require_enabled(key)
    require_spec(key, HMAC)
    secret = list(request.store.get_materials(key).values())[-1]
    return key, hmac.digest(secret, message, "sha256")
