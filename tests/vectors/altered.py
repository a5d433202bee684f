"""The vectors of a good record that was altered after it was sealed: one attribute each."""

from collections.abc import Iterator
from typing import Any

from tests.vectors import case

Named = Iterator[tuple[str, case.Case]]

FILES = {
    "encryptedData": "data",
    "iv": "iv",
    "authTag": "tag",
    "encryptedKey": "encrypted_key",
    "keyPeriod": "key_period",
    "createdAt": "created",
    "updatedAt": "updated",
}
# What a reader finds wrong with bytes of the right length.
BINARIES = {
    "encryptedData": "authentication",
    "iv": "authentication",
    "authTag": "authentication",
    "encryptedKey": "encrypted_key",
    "salt": "commitment",
    "commitment": "commitment",
}
# Those of any length, with what a reader finds wrong with another length.
OF_ANY_LENGTH = {"encryptedData": "authentication", "encryptedKey": "encrypted_key"}


def cases() -> Named:
    yield from _missing()
    yield from _types()
    yield from _lengths()
    yield from _bits()
    yield from _number_forms()
    yield from _numbers()
    yield from _texts()


def _file(attribute: str) -> str:
    return FILES.get(attribute, attribute)


def _invalid(
    name: str, description: str, reason: str, attribute: str, value: Any
) -> tuple[str, case.Case]:
    """Return a record with another value of one attribute; None leaves it out."""
    item: case.Item = {
        other: each for other, each in case.seal_session().items() if other != attribute
    }
    if value is not None:
        item[attribute] = value
    return case.invalid(name, description, reason, item)


def _missing() -> Named:
    for name in case.seal_session():
        reason = "authentication" if name == "owner" else name
        yield _invalid(f"{_file(name)}_missing", f"Without {name}.", reason, name, None)


def _types() -> Named:
    for name, attribute in case.dynamodb_json(case.seal_session()).items():
        ((kind, value),) = attribute.items()
        other = "N" if kind == "S" else "S"
        wrong = {other: "42" if other == "N" else value}
        yield _invalid(
            f"{_file(name)}_of_type_{other.lower()}", f"{name} has type {other}.", name, name, wrong
        )
    for name, value in (
        ("salt", {"L": [{"B": "AAAA"}]}),
        ("iv", {"BS": ["AAAA"]}),
        ("owner", {"NULL": True}),
        ("ttl", {"NS": [str(case.TTL)]}),
        ("revision", {"N": "3", "S": "3"}),
        ("createdAt", {}),
    ):
        kinds = "_and_".join(value).lower() or "nothing"
        yield _invalid(
            f"{_file(name)}_of_type_{kinds}", f"{name} has type {kinds}.", name, name, value
        )


def _lengths() -> Named:
    for name in BINARIES:
        value: bytes = case.seal_session()[name]["B"]
        reason = OF_ANY_LENGTH.get(name, name)
        for what, other, why in (
            ("truncated", value[:-1], reason),
            ("extended", value + b"\0", reason),
            ("empty", b"", "encryptedKey" if name == "encryptedKey" else reason),
        ):
            yield _invalid(f"{_file(name)}_{what}", f"{name} is {what}.", why, name, {"B": other})
    for name, length in (("authTag", 12), ("iv", 16), ("salt", 32), ("commitment", 16)):
        yield _invalid(
            f"{_file(name)}_of_{length}_bytes",
            f"A length that other formats use: {name} of {length} bytes.",
            name,
            name,
            {"B": (case.seal_session()[name]["B"] * 2)[:length]},
        )
    yield _invalid(
        "encrypted_key_too_long",
        "6,145 bytes.",
        "encryptedKey",
        "encryptedKey",
        {"B": bytes(6_145)},
    )


def _bits() -> Named:
    for name, reason in BINARIES.items():
        value: bytes = case.seal_session()[name]["B"]
        for what, other in (
            ("first", bytes([value[0] ^ 0x80]) + value[1:]),
            ("last", value[:-1] + bytes([value[-1] ^ 1])),
        ):
            yield _invalid(
                f"{_file(name)}_{what}_bit_flipped",
                f"The {what} bit of {name} is flipped.",
                reason,
                name,
                {"B": other},
            )
    for name in ("authTag", "commitment", "salt"):
        yield _invalid(
            f"{_file(name)}_zero",
            f"{name} is all zero.",
            BINARIES[name],
            name,
            {"B": bytes(len(case.seal_session()[name]["B"]))},
        )


def _number_forms() -> Named:
    for what, name, text in (
        ("leading_zero", "version", "01"),
        ("fraction", "version", "1.0"),
        ("plus", "version", "+1"),
        ("empty", "version", ""),
        ("space_before", "revision", " 3"),
        ("space_after", "revision", "3 "),
        ("newline_after", "revision", "3\n"),
        ("underscore", "createdAt", "1_799_996_400"),
        ("leading_zero", "createdAt", f"0{case.CREATED}"),
        ("fraction", "createdAt", f"{case.CREATED}.0"),
        ("exponent", "updatedAt", "1.79999994E9"),
        ("hexadecimal", "updatedAt", hex(case.UPDATED)),
        ("exponent", "ttl", "2e9"),
        ("39_digits", "ttl", "1" + "0" * 38),
        ("infinity", "ttl", "Infinity"),
        ("negative", "revision", "-3"),
        ("negative_zero", "keyPeriod", "-0"),
        ("double_zero", "keyPeriod", "00"),
        ("not_ascii", "keyPeriod", str(case.PERIOD)[:-1] + "\uff10"),
        ("nan", "keyPeriod", "NaN"),
    ):
        yield _invalid(f"{_file(name)}_{what}", f"{name} is {text!r}.", name, name, {"N": text})


def _numbers() -> Named:
    for what, name, number, reason in (
        ("0", "version", 0, "version"),
        ("2", "version", 2, "version"),
        ("11", "version", 11, "version"),
        ("earlier", "createdAt", case.CREATED - 1, "authentication"),
        ("later", "createdAt", case.CREATED + 1, "authentication"),
        ("earlier", "updatedAt", case.UPDATED - 1, "commitment"),
        ("later", "updatedAt", case.UPDATED + 1, "commitment"),
        ("one_second_later", "ttl", case.TTL + 1, "authentication"),
        ("one_second_earlier", "ttl", case.TTL - 1, "authentication"),
        ("years_later", "ttl", 2 * case.NOW, "authentication"),
        ("lower", "revision", 2, "commitment"),
        ("higher", "revision", 4, "commitment"),
        ("zeroed", "keyPeriod", 0, "key_period"),
        ("earlier", "keyPeriod", case.PERIOD - 1, "encrypted_key"),
        ("later", "keyPeriod", case.PERIOD + 1, "encrypted_key"),
    ):
        yield _invalid(
            f"{_file(name)}_{what}", f"{name} is {number}.", reason, name, {"N": str(number)}
        )


def _texts() -> Named:
    record_id: str = case.seal_session()["id"]["S"]
    for what, text, reason in (
        ("changed", "user#django#43", "authentication"),
        ("shortened", "user#django#4", "authentication"),
        ("of_another_namespace", "user#other#42", "authentication"),
        ("empty", "", "owner"),
        ("too_long", "user#django#" + "4" * 1_013, "owner"),
        ("too_long_in_bytes", "user#django#" + "é" * 507, "owner"),
        ("lone_surrogate", "user#django#\ud800", "owner"),
    ):
        yield _invalid(
            f"owner_{what}", f"The owner is {what.replace('_', ' ')}.", reason, "owner", {"S": text}
        )
    for what, text in (
        ("changed", _another_last_character(record_id)),
        ("padded", record_id + "="),
        ("empty", ""),
        ("lone_surrogate", record_id[:-1] + "\udfff"),
        ("session_key", case.SESSION_KEY),
        ("standard_base64", record_id.replace("-", "+").replace("_", "/")),
        ("data_key_item", f"data-key#django#{case.PERIOD}"),
    ):
        yield _invalid(
            f"id_{what}", f"The id is not the one asked for: {what}.", "id", "id", {"S": text}
        )


def _another_last_character(text: str) -> str:
    return text[:-1] + ("A" if text[-1] != "A" else "E")
