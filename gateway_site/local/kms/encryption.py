"""The operations that encrypt and decrypt, and the format of their ciphertext blobs.

    version 1 | account 12 | length of key id 1 | key id | material id 32 | nonce 12
    | AES-256-GCM ciphertext and tag | HMAC-SHA256 of everything before, with the store's secret 32

The HMAC distinguishes an altered blob (`InvalidCiphertextException`) from the blob of another key
(`IncorrectKeyException`). The encryption context is sorted and encoded with lengths, so no two
contexts have the same associated data.

Each operation checks, in this order: parameters, the named key, its state, the blob, the encryption
context. With `DryRun` everything is checked, and nothing is done. The key for
decryption must be named, as the engine always does; AWS can find it from the blob.
"""

import base64
import hmac
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .keys import Key
from .request import (
    KMSError,
    Request,
    Response,
    register_operation,
    require_enabled,
    require_spec,
)

MAX_PLAINTEXT = 4096  # bytes
MAX_BLOB = 6144
MAX_DATA_KEY = 1024
AES_256 = 32

VERSION = b"\x01"
MATERIAL_ID_LENGTH = 32
NONCE_LENGTH = 12
MAC_LENGTH = 32


@register_operation("Encrypt", "KeyId", "Plaintext", "EncryptionContext", "DryRun")
def encrypt(request: Request) -> Response:
    plaintext = request.get_blob("Plaintext", MAX_PLAINTEXT)
    context = request.get_context("EncryptionContext")
    key = _find_usable_key(request, "KeyId")
    request.end_dry_run()
    return {"CiphertextBlob": _encrypt_blob(request, key, plaintext, context), "KeyId": key.arn}


@register_operation("Decrypt", "KeyId", "CiphertextBlob", "EncryptionContext", "DryRun")
def decrypt(request: Request) -> Response:
    key, plaintext = _decrypt_blob(request, "KeyId", "EncryptionContext")
    request.end_dry_run()
    return {"Plaintext": _encode(plaintext), "KeyId": key.arn}


@register_operation(
    "ReEncrypt",
    "CiphertextBlob",
    "SourceKeyId",
    "SourceEncryptionContext",
    "DestinationKeyId",
    "DestinationEncryptionContext",
)
def re_encrypt(request: Request) -> Response:
    context = request.get_context("DestinationEncryptionContext")
    request.get_required_text("DestinationKeyId")
    source, plaintext = _decrypt_blob(request, "SourceKeyId", "SourceEncryptionContext")
    key = _find_usable_key(request, "DestinationKeyId")
    blob = _encrypt_blob(request, key, plaintext, context)
    return {"CiphertextBlob": blob, "SourceKeyId": source.arn, "KeyId": key.arn}


@register_operation(
    "GenerateDataKey", "KeyId", "KeySpec", "NumberOfBytes", "EncryptionContext", "DryRun"
)
def generate_data_key(request: Request) -> Response:
    context = request.get_context("EncryptionContext")
    length = request.get_integer("NumberOfBytes", 1, MAX_DATA_KEY)
    spec = request.get_text("KeySpec", pattern="AES_256")
    if (length is None) == (spec is None):
        raise KMSError("ValidationException", "Please specify either number of bytes or key spec.")
    key = _find_usable_key(request, "KeyId")
    request.end_dry_run()
    plaintext = secrets.token_bytes(length or AES_256)
    blob = _encrypt_blob(request, key, plaintext, context)
    return {"Plaintext": _encode(plaintext), "CiphertextBlob": blob, "KeyId": key.arn}


def _find_usable_key(request: Request, name: str) -> Key:
    key = request.find_key_or_alias(name)
    require_enabled(key)
    require_spec(key)
    return key


def _encrypt_blob(request: Request, key: Key, plaintext: bytes, context: Mapping[str, str]) -> str:
    """Return a new blob under the key's current material, in base64."""
    material_id, secret = list(request.store.get_materials(key).items())[-1]
    header = _build_header(key) + bytes.fromhex(material_id)
    nonce = secrets.token_bytes(NONCE_LENGTH)
    body = AESGCM(secret).encrypt(nonce, plaintext, _build_associated_data(header, context))
    signed = header + nonce + body
    return _encode(signed + _compute_mac(request, signed))


def _decrypt_blob(request: Request, name: str, context_name: str) -> tuple[Key, bytes]:
    """Return the key that the parameter `name` names, and the plaintext of its blob.

    As in AWS, the error for an invalid blob has no message.
    """
    data = request.get_blob("CiphertextBlob", MAX_BLOB)
    context = request.get_context(context_name)
    key = _find_usable_key(request, name)
    signed = data[:-MAC_LENGTH]
    if not hmac.compare_digest(data[-MAC_LENGTH:], _compute_mac(request, signed)):
        raise KMSError("InvalidCiphertextException")
    # From here on, the blob is known to be from this store.
    if not signed.startswith(_build_header(key)):
        raise KMSError(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )
    material_at = len(_build_header(key))
    nonce_at = material_at + MATERIAL_ID_LENGTH
    body_at = nonce_at + NONCE_LENGTH
    material_id = signed[material_at:nonce_at].hex()
    associated_data = _build_associated_data(signed[:nonce_at], context)
    try:
        aes = AESGCM(request.store.get_materials(key)[material_id])
        return key, aes.decrypt(signed[nonce_at:body_at], signed[body_at:], associated_data)
    except (KeyError, InvalidTag):
        raise KMSError("InvalidCiphertextException") from None


def _build_header(key: Key) -> bytes:
    """Return the prefix of a key's blobs; no other key's blobs have the same."""
    name = key.key_id.encode("ascii")
    return VERSION + key.account.encode("ascii") + bytes([len(name)]) + name


def _build_associated_data(header: bytes, context: Mapping[str, str]) -> bytes:
    pairs = sorted((name.encode(), value.encode()) for name, value in context.items())
    parts = [header, *(part for pair in pairs for part in pair)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _compute_mac(request: Request, signed: bytes) -> bytes:
    return hmac.digest(request.store.secret, signed, "sha256")


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
