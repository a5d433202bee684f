"""The operations that use key material: Encrypt, Decrypt, ReEncrypt, GenerateDataKey.

Each checks, in this order: parameters, the key that is named, its policy, its state, the blob,
the encryption context. With `DryRun` all of it is checked and nothing is answered.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import ciphertext
from .errors import KMSError, invalid
from .keys import Key, Material
from .parameters import CIPHERTEXT_BYTES, PLAINTEXT_BYTES, Parameters
from .protocol import Answer, Call, operation, require_enabled

SYMMETRIC = "SYMMETRIC_DEFAULT"
ALGORITHMS = (SYMMETRIC, "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE")
DATA_KEY_BYTES = {"AES_256": 32, "AES_128": 16}


@dataclass(frozen=True)
class Opened:
    """A blob that was opened, and by what."""

    key: Key
    material: Material
    plaintext: bytes = field(repr=False)


@operation("Encrypt")
def encrypt(call: Call) -> Answer:
    plaintext = call.parameters.blob("Plaintext", PLAINTEXT_BYTES)
    context = call.parameters.context("EncryptionContext")
    identifier = call.parameters.required_text("KeyId")
    _check_algorithm(call.parameters, "EncryptionAlgorithm")
    key = _usable(call, identifier, "Encrypt")
    call.end_dry_run()
    blob, _ = _seal(call, key, plaintext, context)
    return {"CiphertextBlob": _text(blob), "KeyId": key.arn, "EncryptionAlgorithm": SYMMETRIC}


@operation("Decrypt")
def decrypt(call: Call) -> Answer:
    call.parameters.refuse("Recipient", "DryRunModifiers")
    _check_algorithm(call.parameters, "EncryptionAlgorithm")
    context = call.parameters.context("EncryptionContext")
    opened = _open(call, call.parameters.text("KeyId"), context, "Decrypt")
    call.end_dry_run()
    return {
        "Plaintext": _text(opened.plaintext),
        "KeyId": opened.key.arn,
        "EncryptionAlgorithm": SYMMETRIC,
        "KeyMaterialId": opened.material.material_id,
    }


@operation("ReEncrypt")
def re_encrypt(call: Call) -> Answer:
    call.parameters.refuse("DryRunModifiers")
    _check_algorithm(call.parameters, "SourceEncryptionAlgorithm")
    _check_algorithm(call.parameters, "DestinationEncryptionAlgorithm")
    source_context = call.parameters.context("SourceEncryptionContext")
    context = call.parameters.context("DestinationEncryptionContext")
    destination = call.parameters.required_text("DestinationKeyId")
    source = call.parameters.text("SourceKeyId")
    opened = _open(call, source, source_context, "ReEncryptFrom")
    key = _usable(call, destination, "ReEncryptTo")
    call.end_dry_run()
    blob, material = _seal(call, key, opened.plaintext, context)
    return {
        "CiphertextBlob": _text(blob),
        "SourceKeyId": opened.key.arn,
        "KeyId": key.arn,
        "SourceEncryptionAlgorithm": SYMMETRIC,
        "DestinationEncryptionAlgorithm": SYMMETRIC,
        "SourceKeyMaterialId": opened.material.material_id,
        "DestinationKeyMaterialId": material.material_id,
    }


@operation("GenerateDataKey")
def generate_data_key(call: Call) -> Answer:
    call.parameters.refuse("Recipient")
    plaintext, answer = _data_key(call, "GenerateDataKey")
    return {"Plaintext": _text(plaintext), **answer}


@operation("GenerateDataKeyWithoutPlaintext")
def generate_data_key_without_plaintext(call: Call) -> Answer:
    _, answer = _data_key(call, "GenerateDataKeyWithoutPlaintext")
    return answer


def _data_key(call: Call, action: str) -> tuple[bytes, Answer]:
    context = call.parameters.context("EncryptionContext")
    identifier = call.parameters.required_text("KeyId")
    length = call.parameters.integer("NumberOfBytes", 1, 1024)
    spec = call.parameters.choice("KeySpec", DATA_KEY_BYTES)
    if (length is None) == (spec is None):
        raise invalid("Please specify either number of bytes or key spec.")
    key = _usable(call, identifier, action)
    call.end_dry_run()
    plaintext = secrets.token_bytes(length or DATA_KEY_BYTES[spec or ""])
    blob, material = _seal(call, key, plaintext, context)
    return plaintext, {
        "CiphertextBlob": _text(blob),
        "KeyId": key.arn,
        "KeyMaterialId": material.material_id,
    }


def _usable(call: Call, identifier: str, action: str) -> Key:
    key = call.key_or_alias(identifier, action)
    require_enabled(key)
    return key


def _seal(
    call: Call, key: Key, plaintext: bytes, context: Mapping[str, str]
) -> tuple[bytes, Material]:
    material = call.store.materials(key)[-1]
    blob = ciphertext.seal(
        plaintext,
        context,
        account=key.account,
        key_id=key.key_id,
        material_id=material.material_id,
        material=material.secret,
        secret=call.store.secret,
        nonce=secrets.token_bytes(ciphertext.NONCE_LENGTH),
    )
    return blob, material


def _open(call: Call, identifier: str | None, context: Mapping[str, str], action: str) -> Opened:
    blob = call.parameters.blob("CiphertextBlob", CIPHERTEXT_BYTES)
    named = _usable(call, identifier, action) if identifier is not None else None
    try:
        sealed = ciphertext.parse(blob, call.store.secret)
        key = named or _key_of(call, sealed, action)
        if (key.account, key.key_id) != (sealed.account, sealed.key_id):
            raise KMSError(
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this "
                "operation.",
            )
        material = _material_of(call, key, sealed)
        return Opened(key, material, ciphertext.unseal(sealed, context, material.secret))
    except ciphertext.InvalidBlob:
        # Without a message, as in AWS: nothing is said about what does not fit.
        raise KMSError("InvalidCiphertextException") from None


def _key_of(call: Call, sealed: ciphertext.Sealed, action: str) -> Key:
    key = call.store.key(sealed.account, call.caller.region, sealed.key_id)
    if key is None or not call.allowed(key, action):
        raise call.denied(action, "the resource associated with this ciphertext")
    require_enabled(key)
    return key


def _material_of(call: Call, key: Key, sealed: ciphertext.Sealed) -> Material:
    for material in call.store.materials(key):
        if material.material_id == sealed.material_id:
            return material
    raise ciphertext.InvalidBlob


def _check_algorithm(parameters: Parameters, name: str) -> None:
    if parameters.choice(name, ALGORITHMS) not in (None, SYMMETRIC):
        raise KMSError(
            "InvalidKeyUsageException", f"{name} is not one that a symmetric KMS key can use."
        )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
