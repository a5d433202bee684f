"""The vectors of a program that read the page wrongly: one misreading each."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tests.sessions_kms.support import reference_format as ref
from tests.vectors.case import (
    DATA_KEY,
    ENCRYPTED_KEY,
    NAMESPACE,
    SESSION_KEY,
    Case,
    Item,
    refused,
    sealed_differently,
)

Named = Iterator[tuple[str, Case]]

FIELDS = (
    "suite",
    "namespace",
    "id",
    "version",
    "created",
    "updated",
    "ttl",
    "revision",
    "owner",
    "salt",
    "commitment",
)


def cases() -> Named:
    yield from _derivations()
    yield from _associations()


def _invalid(description: str, reason: str, item: Item) -> Case:
    return Case(description=description, expected=refused(reason), item=item)


def _derivations() -> Named:
    info, ikm = b"sessions_kms/1/record", DATA_KEY

    def derived(description: str, derive: Any) -> Case:
        return _invalid(description, "commitment", sealed_differently(derive=derive))

    def hkdf(ikm: bytes, salt: bytes, info: bytes = info) -> tuple[bytes, bytes]:
        return ref.halves(ref.hkdf(ikm, salt, info))

    yield "sealed_without_secret", derived("Data key alone.", lambda salt, _: hkdf(ikm, salt))
    yield (
        "sealed_with_secret_first",
        derived("Secret before data key.", lambda salt, secret: hkdf(secret + ikm, salt)),
    )
    yield (
        "sealed_with_session_key_as_secret",
        derived(
            "Session key instead of its digest.",
            lambda salt, _: hkdf(ikm + SESSION_KEY.encode(), salt),
        ),
    )
    yield (
        "sealed_with_secret_of_id_domain",
        derived(
            "The digest of the id instead of the secret's.",
            lambda salt, _: hkdf(
                ikm
                + hashlib.sha256(
                    f"sessions_kms/1/id\0{NAMESPACE}\0{SESSION_KEY}".encode()
                ).digest(),
                salt,
            ),
        ),
    )
    yield (
        "sealed_without_salt",
        derived("No salt in HKDF.", lambda _, secret: hkdf(ikm + secret, b"")),
    )
    yield (
        "sealed_with_zero_after_info",
        derived(
            "A zero byte at the end of info.",
            lambda salt, secret: hkdf(ikm + secret, salt, info + b"\0"),
        ),
    )
    yield (
        "sealed_with_key_and_commitment_swapped",
        derived(
            "The halves of the output the wrong way round.",
            lambda salt, secret: hkdf(ikm + secret, salt)[::-1],
        ),
    )


def _associations() -> Named:
    def associated(description: str, associate: Any, **attributes: Any) -> Case:
        item = sealed_differently(associate=associate, **attributes)
        return _invalid(description, "authentication", item)

    def with_field(index: int, change: Any) -> Any:
        def associate(item: Item) -> bytes:
            changed = ref.associated_fields(NAMESPACE, item)
            changed[index : index + 1] = change(changed[index])
            return ref.prefixed(changed)

        return associate

    yield "sealed_without_associated_data", associated("No associated data.", lambda _: b"")
    yield (
        "sealed_without_lengths",
        associated(
            "Fields joined without their lengths.",
            lambda item: b"".join(ref.associated_fields(NAMESPACE, item)),
        ),
    )
    yield (
        "sealed_with_little_endian_lengths",
        associated(
            "Lengths in little-endian.",
            lambda item: b"".join(
                len(each).to_bytes(4, "little") + each
                for each in ref.associated_fields(NAMESPACE, item)
            ),
        ),
    )
    for index, name in enumerate(FIELDS):
        yield (
            f"sealed_without_{name}_in_associated_data",
            associated(f"The field {name} left out.", with_field(index, lambda _: [])),
        )
    yield (
        "sealed_without_field_of_absent_owner",
        associated(
            "An absent owner is a field of length 0, not no field.",
            with_field(8, lambda _: []),
            owner=None,
        ),
    )
    yield (
        "sealed_with_binary_numbers",
        associated(
            "createdAt as 8 bytes instead of digits.",
            with_field(4, lambda digits: [int(digits).to_bytes(8, "big")]),
        ),
    )
    yield (
        "sealed_with_encrypted_key_in_associated_data",
        associated(
            "encryptedKey is not associated data.",
            with_field(10, lambda commitment: [commitment, ENCRYPTED_KEY]),
        ),
    )
    yield (
        "sealed_with_another_version",
        associated("Sealed as version 2, stored as 1.", with_field(3, lambda _: [b"2"])),
    )
    yield (
        "sealed_with_json_associated_data",
        associated(
            "JSON instead of length-prefixed fields.",
            lambda item: json.dumps({"id": item["id"], "ttl": item["ttl"]}).encode(),
        ),
    )
