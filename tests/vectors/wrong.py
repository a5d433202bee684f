"""The vectors that were never good: moved, of another key, of a wrong time, of no session."""

from collections.abc import Iterator

from tests.sessions_kms.support import reference_format as ref
from tests.vectors.case import (
    DATA_KEY,
    DAY,
    IV,
    NAMESPACE,
    NOW,
    OTHER_DATA_KEY,
    OTHER_ENCRYPTED_KEY,
    OTHER_SESSION_KEY,
    PERIOD,
    SESSION_KEY,
    UPDATED,
    Case,
    Item,
    Wrapped,
    associated_data,
    fixed_bytes,
    invalid,
    seal_session,
)
from tests.vectors.salamander import salamander

Named = Iterator[tuple[str, Case]]

BOTH_KEYS = (Wrapped(), Wrapped(OTHER_ENCRYPTED_KEY, data_key=OTHER_DATA_KEY))


def cases() -> Named:
    yield from _move_case()
    yield from _keys()
    yield from _times()
    yield from _owners()
    yield from _payloads()


def _move_case() -> Named:
    """A whole record in the place of another."""
    here = {"id": {"S": ref.session_id(NAMESPACE, SESSION_KEY)}}
    theirs = seal_session(session_key=OTHER_SESSION_KEY)
    elsewhere = seal_session(namespace="other", owner=None)
    unwraps_both = (Wrapped(), Wrapped(namespace="other"))
    yield invalid("moved_with_its_id", "Another session's record.", "id", theirs)
    yield invalid(
        "moved_with_id_rewritten",
        "Another session's record under this id.",
        "commitment",
        theirs | here,
    )
    yield invalid(
        "namespace_other", "A record of another namespace.", "id", elsewhere, kms=unwraps_both
    )
    yield invalid(
        "namespace_other_with_id_rewritten",
        "A record of another namespace under this id; KMS sees the context.",
        "encrypted_key",
        elsewhere | here,
        kms=(Wrapped(namespace="other"),),
    )
    yield invalid(
        "namespace_other_with_data_key_shared",
        "The same, with a data key that KMS unwraps for both namespaces.",
        "commitment",
        elsewhere | here,
        kms=unwraps_both,
    )
    yield invalid(
        "reader_of_another_session",
        "Read with another cookie.",
        "id",
        seal_session(),
        session_key=OTHER_SESSION_KEY,
    )
    yield invalid(
        "reader_of_another_namespace",
        "Read in another namespace.",
        "id",
        seal_session(),
        namespace="other",
        kms=unwraps_both,
    )


def _keys() -> Named:
    yield invalid(
        "encrypted_key_of_another_data_key",
        "Another data key's blob, which KMS unwraps.",
        "commitment",
        seal_session() | {"encryptedKey": {"B": OTHER_ENCRYPTED_KEY}},
        kms=BOTH_KEYS,
    )
    yield invalid(
        "encrypted_key_of_another_period",
        "KMS unwraps the blob, but for another period.",
        "encrypted_key",
        seal_session(),
        kms=(Wrapped(period=PERIOD - DAY),),
    )
    yield invalid(
        "encryption_context_missing",
        "The blob was wrapped with a configured pair that the reader lacks.",
        "encrypted_key",
        seal_session(),
        kms=(Wrapped(configured={"environment": "production"}),),
    )
    yield invalid(
        "encryption_context_added",
        "The reader has a configured pair that the blob was wrapped without.",
        "encrypted_key",
        seal_session(),
        configured={"environment": "production"},
    )
    yield invalid(
        "data_key_one_bit_off",
        "KMS answers a data key that differs in one bit.",
        "commitment",
        seal_session(),
        kms=(Wrapped(data_key=DATA_KEY[:-1] + bytes([DATA_KEY[-1] ^ 1])),),
    )
    yield invalid(
        "two_keys_one_ciphertext",
        "A ciphertext that GCM opens under both data keys, with the other one's blob.",
        "commitment",
        two_keys_one_ciphertext(),
        kms=BOTH_KEYS,
    )


def two_keys_one_ciphertext() -> Item:
    """Return a record of DATA_KEY's commitment, in which OTHER_DATA_KEY's blob was put."""
    item = seal_session(b'{"padding":"' + b" " * 18 + b'"}')
    keys = [
        ref.derive(data_key, SESSION_KEY, NAMESPACE, item)[0]
        for data_key in (DATA_KEY, OTHER_DATA_KEY)
    ]
    ciphertext, tag = salamander(
        (keys[0], keys[1]), IV, item["encryptedData"]["B"], associated_data(item)
    )
    return item | {
        "encryptedData": {"B": ciphertext},
        "authTag": {"B": tag},
        "encryptedKey": {"B": OTHER_ENCRYPTED_KEY},
    }


def _times() -> Named:
    """Whole records whose times no writer may choose."""
    yield invalid(
        "created_301_seconds_after_updated",
        "Claims to begin after it was written.",
        "created_after_updated",
        seal_session(created=UPDATED + 301),
    )
    yield invalid(
        "updated_301_seconds_in_future",
        "Written too far ahead.",
        "updated_in_future",
        seal_session(updated=NOW + 301),
    )
    yield invalid(
        "updated_a_fraction_too_far_in_future",
        "Written 300.5 seconds ahead.",
        "updated_in_future",
        seal_session(updated=NOW + 301),
        now=NOW + 0.5,
    )
    yield invalid(
        "updated_far_in_future",
        "Written in the year 2084.",
        "updated_in_future",
        seal_session(updated=2 * NOW),
    )
    for name, period, description in (
        ("one_second_after_updated", UPDATED + 1, "Written before its data key's period."),
        ("over_eight_days_before_updated", UPDATED - 8 * DAY - 1, "Written a second too late."),
        ("one", 1, "Written decades too late."),
        ("zero", 0, "Period 0 is no exception: it would have no end."),
    ):
        yield invalid(
            f"key_period_{name}",
            description,
            "key_period",
            seal_session(period=period),
            kms=(Wrapped(period=period),),
        )


def _owners() -> Named:
    yield invalid(
        "owner_added",
        "An anonymous session that got an owner.",
        "authentication",
        seal_session(owner=None) | {"owner": {"S": "user#django#42"}},
    )
    yield invalid(
        "owner_normalized",
        "The same text to a reader's eye, but other code points.",
        "authentication",
        seal_session(owner="user#django#Zo\u00eb") | {"owner": {"S": "user#django#Zoe\u0308"}},
    )


def _payloads() -> Named:
    """Whole records of something that is no session."""
    for name, payload in (
        ("empty", b""),
        ("list", b"[]"),
        ("null", b"null"),
        ("text", b'"{}"'),
        ("number", b"1"),
        ("cut_short", b'{"visits":3'),
        ("followed_by_more", b"{}{}"),
        ("not_json", fixed_bytes("payload", 40)),
        ("pickle", b"\x80\x04}\x94."),
    ):
        yield invalid(
            f"payload_{name}", f"The plaintext is {payload!r}.", "payload", seal_session(payload)
        )
