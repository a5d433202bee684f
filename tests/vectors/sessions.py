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

Named = Iterator[tuple[str, Case]]


def cases() -> Named:
    yield from _plain()
    yield from _boundaries()
    yield from _extremes()
    yield from _end_case()
    yield from _cookies()


def _open_case(description: str, plaintext: bytes = SESSION, **members: Any) -> Case:
    item = members.pop("item", None) or seal_session(plaintext)
    expected = {"outcome": "session", "plaintext": plaintext.decode("ascii")}
    return Case(description=description, item=item, expected=expected, **members)


def _none(description: str, **members: Any) -> Case:
    item = members.pop("item", None) or seal_session()
    return Case(description=description, item=item, expected={"outcome": "none"}, **members)


def _plain() -> Named:
    yield "signed_in", _open_case("A session of someone who is signed in.")
    yield "anonymous", _open_case("Nobody is signed in: no owner.", item=seal_session(owner=None))
    yield (
        "empty_session",
        _open_case("A session without content.", b"{}", item=seal_session(b"{}", owner=None)),
    )
    yield (
        "encryption_context_configured",
        _open_case(
            "Two more pairs in the encryption context.",
            configured={"environment": "production", "équipe": "é"},
            kms=(Wrapped(configured={"environment": "production", "équipe": "é"}),),
        ),
    )
    yield (
        "key_among_several",
        _open_case(
            "KMS unwraps two data keys, and the record holds the second one.",
            item=seal_session(data_key=OTHER_DATA_KEY, encrypted_key=OTHER_ENCRYPTED_KEY),
            kms=(Wrapped(), Wrapped(OTHER_ENCRYPTED_KEY, data_key=OTHER_DATA_KEY)),
        ),
    )
    rewrapped = fixed_bytes("wrapped anew under another KMS key", 184)
    yield (
        "wrapped_anew",
        _open_case(
            "The same data key, wrapped anew after the record was sealed.",
            item=seal_session() | {"encryptedKey": {"B": rewrapped}},
            kms=(Wrapped(rewrapped),),
        ),
    )
    yield (
        "attributes_unknown",
        _open_case(
            "Attributes that the format does not know are ignored.",
            item=seal_session() | {"region": {"S": "eu-west-1"}, "later": {"M": {}}},
        ),
    )
    yield (
        "owner_unicode",
        _open_case("An owner beyond ASCII.", item=seal_session(owner="user#django#Zoë 😀 \u0000")),
    )
    yield (
        "owner_not_of_namespace",
        _open_case("A reader does not interpret the owner.", item=seal_session(owner="x")),
    )
    yield (
        "revision_zero",
        _open_case("A reader does not interpret the revision.", item=seal_session(revision=0)),
    )


def _boundaries() -> Named:
    yield "ttl_one_second_ahead", _open_case("Ends in one second.", item=seal_session(ttl=NOW + 1))
    yield (
        "ttl_a_fraction_ahead",
        _open_case("Ends in half a second.", item=seal_session(ttl=NOW + 1), now=NOW + 0.5),
    )
    yield (
        "absolute_timeout_one_second_ahead",
        _open_case("Ends in one second.", absolute_timeout=NOW - CREATED + 1),
    )
    yield (
        "absolute_timeout_off",
        _open_case(
            "Created four years ago; no absolute timeout.",
            item=seal_session(created=NOW - 4 * 365 * DAY),
            absolute_timeout=None,
        ),
    )
    yield (
        "created_one_second_after_not_before",
        _open_case("Created just after what ended all.", not_before=CREATED - 1),
    )
    yield (
        "updated_300_seconds_in_future",
        _open_case(
            "The writer's clock was five minutes ahead.", item=seal_session(updated=NOW + 300)
        ),
    )
    yield (
        "key_period_starts_at_updated",
        _open_case(
            "Written in the first second of the period.",
            item=seal_session(created=PERIOD, updated=PERIOD),
        ),
    )
    yield (
        "created_300_seconds_after_updated",
        _open_case(
            "Signed in where the clock was five minutes ahead of that of this write.",
            item=seal_session(created=UPDATED + 300),
        ),
    )
    period = NOW - 8 * DAY
    yield (
        "key_period_eight_days_before_updated",
        _open_case(
            "Written in the last second in which this data key may seal.",
            item=seal_session(period=period, updated=period + 8 * DAY),
            kms=(Wrapped(period=period),),
        ),
    )


def _extremes() -> Named:
    large = b'{"text":"' + b"0123456789abcdef" * 4_100 + b'"}'
    yield "large_session", _open_case("65,611 bytes.", large, item=seal_session(large))
    longest = "a" * 64
    yield (
        "namespace_longest",
        _open_case(
            "A namespace of 64 characters.",
            item=seal_session(namespace=longest, owner=None),
            namespace=longest,
            kms=(Wrapped(namespace=longest),),
        ),
    )
    yield (
        "owner_longest",
        _open_case("An owner of 1,024 bytes.", item=seal_session(owner="user#django#" + "é" * 506)),
    )
    yield (
        "numbers_longest",
        _open_case("Numbers of 38 digits.", item=seal_session(ttl=10**38 - 1, revision=10**38 - 1)),
    )
    for name, length in (("longest", 6_144), ("shortest", 1)):
        blob = fixed_bytes(f"encrypted data key, {name}", length)
        yield (
            f"encrypted_key_{name}",
            _open_case(
                f"An encrypted data key of {length:,} bytes.",
                item=seal_session(encrypted_key=blob),
                kms=(Wrapped(blob),),
            ),
        )


def _end_case() -> Named:
    yield "ttl_now", _none("Ends at this very second.", item=seal_session(ttl=NOW))
    yield "ttl_past", _none("Ended, but not yet deleted.", item=seal_session(ttl=NOW - DAY))
    yield "ttl_zero", _none("Ended at 0.", item=seal_session(ttl=0))
    yield (
        "ttl_past_and_forged",
        _none("Whether an ended record is whole is not looked at.", item=_forged_end()),
    )
    yield (
        "absolute_timeout_now",
        _none("Ends at this very second.", absolute_timeout=NOW - CREATED),
    )
    yield ("absolute_timeout_past", _none("The absolute timeout was lowered.", absolute_timeout=60))
    yield (
        "created_at_not_before",
        _none("Created in the second up to which all ended.", not_before=CREATED),
    )
    yield "created_before_not_before", _none("Created before that.", not_before=NOW)
    yield (
        "created_at_zero",
        _none("Without a not-before it is 0.", item=seal_session(created=0), absolute_timeout=None),
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
        yield (
            f"cookie_{name}",
            _none(
                f"{description} Such a cookie is no session.",
                item=seal_session(session_key=cookie),
                session_key=cookie,
            ),
        )
