"""The vectors of a program that read the page wrongly: one misreading each."""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.sessions_kms.support import reference_format as ref
from tests.vectors import case

NamedCase = tuple[str, case.Case]
Named = Iterator[NamedCase]

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
INFO_FIELDS = ("suite", "type", "namespace", "id", "version", "revision", "updated")


def cases() -> Named:
    yield from _derivations()
    yield from _infos()
    yield from _associations()


def _derivations() -> Named:
    ikm = case.DATA_KEY

    yield _derive_case(
        "sealed_without_secret", "Data key alone.", lambda salt, _, info: _hkdf(ikm, salt, info)
    )
    yield _derive_case(
        "sealed_with_secret_first",
        "Secret before data key.",
        lambda salt, secret, info: _hkdf(secret + ikm, salt, info),
    )
    yield _derive_case(
        "sealed_with_session_key_as_secret",
        "Session key instead of its digest.",
        lambda salt, _, info: _hkdf(ikm + case.SESSION_KEY.encode(), salt, info),
    )
    yield _derive_case(
        "sealed_with_secret_of_id_domain",
        "The digest of the id instead of the secret's.",
        lambda salt, _, info: _hkdf(
            ikm
            + hashlib.sha256(
                f"sessions_kms/1/id\0{case.NAMESPACE}\0{case.SESSION_KEY}".encode()
            ).digest(),
            salt,
            info,
        ),
    )
    yield _derive_case(
        "sealed_without_salt",
        "No salt in HKDF.",
        lambda _, secret, info: _hkdf(ikm + secret, b"", info),
    )
    yield _derive_case(
        "sealed_with_key_and_commitment_swapped",
        "The halves of the output the wrong way round.",
        lambda salt, secret, info: _hkdf(ikm + secret, salt, info)[::-1],
    )


def _infos() -> Named:
    def with_info(name: str, description: str, info: Callable[[list[bytes]], bytes]) -> NamedCase:
        return _derive_case(
            name,
            description,
            lambda salt, secret, fields: ref.halves(
                ref.hkdf(case.DATA_KEY + secret, salt, info(fields))
            ),
        )

    yield with_info("sealed_without_info", "No info in HKDF.", lambda _: b"")
    yield with_info(
        "sealed_with_the_suite_as_info",
        "One info for all records.",
        lambda _: b"sessions_kms/1/record",
    )
    yield with_info(
        "sealed_without_lengths_in_info",
        "The fields of info joined without their lengths.",
        b"".join,
    )
    yield with_info(
        "sealed_with_zero_after_info",
        "A zero byte at the end of info.",
        lambda fields: ref.prefix_lengths(fields) + b"\0",
    )
    yield with_info(
        "sealed_with_owner_in_info",
        "The owner is no field of info.",
        lambda fields: ref.prefix_lengths([*fields, case.OWNER.encode()]),
    )
    yield with_info(
        "sealed_as_another_item_type",
        "Sealed as session metadata.",
        lambda fields: ref.prefix_lengths([fields[0], b"about", *fields[2:]]),
    )
    for index, name in enumerate(INFO_FIELDS):
        yield with_info(
            f"sealed_without_{name}_in_info",
            f"The field {name} left out of info.",
            partial(_prefix_all_but, index),
        )


def _derive_case(
    name: str, description: str, derive: Callable[[bytes, bytes, list[bytes]], tuple[bytes, bytes]]
) -> NamedCase:
    return case.invalid(name, description, "commitment", case.seal_differently(derive=derive))


def _prefix_all_but(index: int, fields: list[bytes]) -> bytes:
    return ref.prefix_lengths(fields[:index] + fields[index + 1 :])


def _hkdf(ikm: bytes, salt: bytes, fields: list[bytes]) -> tuple[bytes, bytes]:
    return ref.halves(ref.hkdf(ikm, salt, ref.prefix_lengths(fields)))


def _associations() -> Named:
    def associated(name: str, description: str, associate: Any, **attributes: Any) -> NamedCase:
        item = case.seal_differently(associate=associate, **attributes)
        return case.invalid(name, description, "authentication", item)

    def with_field(index: int, change: Any) -> Any:
        def associate(item: case.Item) -> bytes:
            changed = ref.associated_fields(case.NAMESPACE, item)
            changed[index : index + 1] = change(changed[index])
            return ref.prefix_lengths(changed)

        return associate

    yield associated("sealed_without_associated_data", "No associated data.", lambda _: b"")
    yield associated(
        "sealed_without_lengths",
        "Fields joined without their lengths.",
        lambda item: b"".join(ref.associated_fields(case.NAMESPACE, item)),
    )
    yield associated(
        "sealed_with_little_endian_lengths",
        "Lengths in little-endian.",
        lambda item: b"".join(
            len(each).to_bytes(4, "little") + each
            for each in ref.associated_fields(case.NAMESPACE, item)
        ),
    )
    for index, name in enumerate(FIELDS):
        yield associated(
            f"sealed_without_{name}_in_associated_data",
            f"The field {name} left out.",
            with_field(index, lambda _: []),
        )
    yield associated(
        "sealed_without_field_of_absent_owner",
        "An absent owner is a field of length 0, not no field.",
        with_field(8, lambda _: []),
        owner=None,
    )
    yield associated(
        "sealed_with_binary_numbers",
        "createdAt as 8 bytes instead of digits.",
        with_field(4, lambda digits: [int(digits).to_bytes(8, "big")]),
    )
    yield associated(
        "sealed_with_encrypted_key_in_associated_data",
        "encryptedKey is not associated data.",
        with_field(10, lambda commitment: [commitment, case.ENCRYPTED_KEY]),
    )
    yield associated(
        "sealed_with_another_version",
        "Sealed as version 2, stored as 1.",
        with_field(3, lambda _: [b"2"]),
    )
    yield associated(
        "sealed_with_json_associated_data",
        "JSON instead of length-prefixed fields.",
        lambda item: json.dumps({"id": item["id"], "ttl": item["ttl"]}).encode(),
    )
