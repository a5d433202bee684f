"""The vectors that open, and those for which there is no session though nothing is wrong."""

from collections.abc import Iterator
from typing import Any

from tests.vectors.case import (
    CREATED,
    DAY,
    ENCRYPTED_KEY,
    NOW,
    OTHER_DATA_KEY,
    OTHER_ENCRYPTED_KEY,
    PERIOD,
    SESSION,
    UPDATED,
    Case,
    Wrapped,
    fixed_bytes,
    seal_session,
)

NamedCase = tuple[str, Case]
Named = Iterator[NamedCase]


def cases() -> Named:
    yield from _plain()
    yield from _boundaries()
    yield from _extremes()
    yield from _end_case()
    yield from _cookies()


def _open_case(
    name: str, description: str, plaintext: bytes = SESSION, **members: Any
) -> NamedCase:
    item = members.pop("item", None) or seal_session(plaintext)
    expected = {"outcome": "session", "plaintext": plaintext.decode("ascii")}
    return name, Case(description=description, item=item, expected=expected, **members)


def _none(name: str, description: str, **members: Any) -> NamedCase:
    item = members.pop("item", None) or seal_session()
    return name, Case(description=description, item=item, expected={"outcome": "none"}, **members)


def _plain() -> Named:
    yield _open_case("signed_in", "A session of someone who is signed in.")
    yield _open_case("anonymous", "Nobody is signed in: no owner.", item=seal_session(owner=None))
    yield _open_case(
        "empty_session", "A session without content.", b"{}", item=seal_session(b"{}", owner=None)
    )
    yield _open_case(
        "encryption_context_configured",
        "Two more pairs in the encryption context.",
        configured={"environment": "production", "équipe": "é"},
        kms=(Wrapped(configured={"environment": "production", "équipe": "é"}),),
    )
    yield _open_case(
        "key_among_several",
        "KMS unwraps two data keys, and the record holds the second one.",
        item=seal_session(data_key=OTHER_DATA_KEY, encrypted_key=OTHER_ENCRYPTED_KEY),
        kms=(Wrapped(), Wrapped(OTHER_ENCRYPTED_KEY, data_key=OTHER_DATA_KEY)),
    )
    rewrapped = fixed_bytes("wrapped anew under another KMS key", 184)
    yield _open_case(
        "wrapped_anew",
        "The same data key, wrapped anew after the record was sealed.",
        item=seal_session() | {"encryptedKey": {"B": rewrapped}},
        kms=(Wrapped(rewrapped),),
    )
    yield _open_case(
        "attributes_unknown",
        "Attributes that the format does not know are ignored.",
        item=seal_session() | {"region": {"S": "eu-west-1"}, "later": {"M": {}}},
    )
    yield _open_case(
        "owner_unicode",
        "An owner beyond ASCII.",
        item=seal_session(owner="user#django#Zoë 😀 \u0000"),
    )
    yield _open_case(
        "owner_not_of_namespace",
        "A reader does not interpret the owner.",
        item=seal_session(owner="x"),
    )
    yield _open_case(
        "revision_zero", "A reader does not interpret the revision.", item=seal_session(revision=0)
    )


def _boundaries() -> Named:
    yield _open_case("ttl_one_second_ahead", "Ends in one second.", item=seal_session(ttl=NOW + 1))
    yield _open_case(
        "ttl_a_fraction_ahead",
        "Ends in half a second.",
        item=seal_session(ttl=NOW + 1),
        now=NOW + 0.5,
    )
    yield _open_case(
        "absolute_timeout_one_second_ahead",
        "Ends in one second.",
        absolute_timeout=NOW - CREATED + 1,
    )
    yield _open_case(
        "absolute_timeout_off",
        "Created four years ago; no absolute timeout.",
        item=seal_session(created=NOW - 4 * 365 * DAY),
        absolute_timeout=None,
    )
    yield _open_case(
        "created_one_second_after_not_before",
        "Created just after what ended all.",
        not_before=CREATED - 1,
    )
    yield _open_case(
        "updated_300_seconds_in_future",
        "The writer's clock was five minutes ahead.",
        item=seal_session(updated=NOW + 300),
    )
    yield _open_case(
        "key_period_starts_at_updated",
        "Written in the first second of the period.",
        item=seal_session(created=PERIOD, updated=PERIOD),
    )
    yield _open_case(
        "created_300_seconds_after_updated",
        "Signed in where the clock was five minutes ahead of that of this write.",
        item=seal_session(created=UPDATED + 300),
    )
    period = NOW - 8 * DAY
    yield _open_case(
        "key_period_eight_days_before_updated",
        "Written in the last second in which this data key may seal.",
        item=seal_session(period=period, updated=period + 8 * DAY),
        kms=(Wrapped(period=period),),
    )


def _extremes() -> Named:
    large = b'{"text":"' + b"0123456789abcdef" * 4_100 + b'"}'
    yield _open_case("large_session", "65,611 bytes.", large, item=seal_session(large))
    longest = "a" * 64
    yield _open_case(
        "namespace_longest",
        "A namespace of 64 characters.",
        item=seal_session(namespace=longest, owner=None),
        namespace=longest,
        kms=(Wrapped(namespace=longest),),
    )
    yield _open_case(
        "owner_longest",
        "An owner of 1,024 bytes.",
        item=seal_session(owner="user#django#" + "é" * 506),
    )
    yield _open_case(
        "numbers_longest",
        "Numbers of 38 digits.",
        item=seal_session(ttl=10**38 - 1, revision=10**38 - 1),
    )
    for name, length in (("longest", 6_144), ("shortest", 1)):
        blob = fixed_bytes(f"encrypted data key, {name}", length)
        yield _open_case(
            f"encrypted_key_{name}",
            f"An encrypted data key of {length:,} bytes.",
            item=seal_session(encrypted_key=blob),
            kms=(Wrapped(blob),),
        )


def _end_case() -> Named:
    yield _none("ttl_now", "Ends at this very second.", item=seal_session(ttl=NOW))
    yield _none("ttl_past", "Ended, but not yet deleted.", item=seal_session(ttl=NOW - DAY))
    yield _none("ttl_zero", "Ended at 0.", item=seal_session(ttl=0))
    yield _none(
        "ttl_past_and_forged",
        "Whether an ended record is whole is not looked at.",
        item=_forged_end(),
    )
    yield _none("absolute_timeout_now", "Ends at this very second.", absolute_timeout=NOW - CREATED)
    yield _none("absolute_timeout_past", "The absolute timeout was lowered.", absolute_timeout=60)
    yield _none(
        "created_at_not_before", "Created in the second up to which all ended.", not_before=CREATED
    )
    yield _none("created_before_not_before", "Created before that.", not_before=NOW)
    yield _none(
        "created_at_zero",
        "Without a not-before it is 0.",
        item=seal_session(created=0),
        absolute_timeout=None,
    )


def _forged_end() -> dict[str, dict[str, Any]]:
    return seal_session() | {"ttl": {"N": str(NOW - 1)}, "encryptedKey": {"B": ENCRYPTED_KEY[::-1]}}


def _cookies() -> Named:
    """Each has the item that a reader without the check would find."""
    for name, cookie, description in (
        ("empty", "", "No cookie."),
        ("short", "0123456789abcdefghijklmnopqrstu", "31 characters."),
        ("long", "0123456789abcdefghijklmnopqrstuvw", "33 characters."),
        ("uppercase", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "Not in lower case."),
        ("newline", "0123456789abcdefghijklmnopqrstuv\n", "A newline after the cookie."),
        ("unicode", "\u0660123456789abcdefghijklmnopqrstuv", "A digit, but not of ASCII."),
        ("hyphen", "0123456789-bcdefghijklmnopqrstuv", "A hyphen."),
    ):
        yield _none(
            f"cookie_{name}",
            f"{description} Such a cookie is no session.",
            item=seal_session(session_key=cookie),
            session_key=cookie,
        )
