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
    fixed,
    sealed,
)

Named = Iterator[tuple[str, Case]]


def cases() -> Named:
    yield from _plain()
    yield from _boundaries()
    yield from _extremes()
    yield from _ended()
    yield from _cookies()


def _opened(description: str, plaintext: bytes = SESSION, **members: Any) -> Case:
    item = members.pop("item", None) or sealed(plaintext)
    expected = {"outcome": "session", "plaintext": plaintext.decode("ascii")}
    return Case(description=description, item=item, expected=expected, **members)


def _none(description: str, **members: Any) -> Case:
    item = members.pop("item", None) or sealed()
    return Case(description=description, item=item, expected={"outcome": "none"}, **members)


def _plain() -> Named:
    yield "signed_in", _opened("A session of someone who is signed in.")
    yield "anonymous", _opened("Nobody is signed in: no owner.", item=sealed(owner=None))
    yield (
        "empty_session",
        _opened("A session without content.", b"{}", item=sealed(b"{}", owner=None)),
    )
    yield (
        "encryption_context_configured",
        _opened(
            "Two more pairs in the encryption context.",
            configured={"environment": "production", "équipe": "é"},
            kms=(Wrapped(configured={"environment": "production", "équipe": "é"}),),
        ),
    )
    yield (
        "key_among_several",
        _opened(
            "KMS unwraps two data keys, and the record holds the second one.",
            item=sealed(data_key=OTHER_DATA_KEY, encrypted_key=OTHER_ENCRYPTED_KEY),
            kms=(Wrapped(), Wrapped(OTHER_ENCRYPTED_KEY, data_key=OTHER_DATA_KEY)),
        ),
    )
    rewrapped = fixed("wrapped anew under another KMS key", 184)
    yield (
        "wrapped_anew",
        _opened(
            "The same data key, wrapped anew after the record was sealed.",
            item=sealed() | {"encryptedKey": {"B": rewrapped}},
            kms=(Wrapped(rewrapped),),
        ),
    )
    yield (
        "attributes_unknown",
        _opened(
            "Attributes that the format does not know are ignored.",
            item=sealed() | {"region": {"S": "eu-west-1"}, "later": {"M": {}}},
        ),
    )
    yield (
        "owner_unicode",
        _opened("An owner beyond ASCII.", item=sealed(owner="user#django#Zoë 😀 \u0000")),
    )
    yield (
        "owner_not_of_namespace",
        _opened("A reader does not interpret the owner.", item=sealed(owner="x")),
    )
    yield (
        "revision_zero",
        _opened("A reader does not interpret the revision.", item=sealed(revision=0)),
    )


def _boundaries() -> Named:
    yield "ttl_one_second_ahead", _opened("Ends in one second.", item=sealed(ttl=NOW + 1))
    yield (
        "ttl_a_fraction_ahead",
        _opened("Ends in half a second.", item=sealed(ttl=NOW + 1), now=NOW + 0.5),
    )
    yield (
        "absolute_timeout_one_second_ahead",
        _opened("Ends in one second.", absolute_timeout=NOW - CREATED + 1),
    )
    yield (
        "absolute_timeout_off",
        _opened(
            "Created four years ago; no absolute timeout.",
            item=sealed(created=NOW - 4 * 365 * DAY),
            absolute_timeout=None,
        ),
    )
    yield (
        "created_one_second_after_not_before",
        _opened("Created just after what ended all.", not_before=CREATED - 1),
    )
    yield (
        "updated_300_seconds_in_future",
        _opened("The writer's clock was five minutes ahead.", item=sealed(updated=NOW + 300)),
    )
    yield (
        "key_period_starts_at_updated",
        _opened(
            "Written in the first second of the period.",
            item=sealed(created=PERIOD, updated=PERIOD),
        ),
    )
    yield (
        "created_300_seconds_after_updated",
        _opened(
            "Signed in where the clock was five minutes ahead of that of this write.",
            item=sealed(created=UPDATED + 300),
        ),
    )
    period = NOW - 8 * DAY
    yield (
        "key_period_eight_days_before_updated",
        _opened(
            "Written in the last second in which this data key may seal.",
            item=sealed(period=period, updated=period + 8 * DAY),
            kms=(Wrapped(period=period),),
        ),
    )


def _extremes() -> Named:
    large = b'{"text":"' + b"0123456789abcdef" * 4_100 + b'"}'
    yield "large_session", _opened("65,611 bytes.", large, item=sealed(large))
    longest = "a" * 64
    yield (
        "namespace_longest",
        _opened(
            "A namespace of 64 characters.",
            item=sealed(namespace=longest, owner=None),
            namespace=longest,
            kms=(Wrapped(namespace=longest),),
        ),
    )
    yield (
        "owner_longest",
        _opened("An owner of 1,024 bytes.", item=sealed(owner="user#django#" + "é" * 506)),
    )
    yield (
        "numbers_longest",
        _opened("Numbers of 38 digits.", item=sealed(ttl=10**38 - 1, revision=10**38 - 1)),
    )
    for name, length in (("longest", 6_144), ("shortest", 1)):
        blob = fixed(f"encrypted data key, {name}", length)
        yield (
            f"encrypted_key_{name}",
            _opened(
                f"An encrypted data key of {length:,} bytes.",
                item=sealed(encrypted_key=blob),
                kms=(Wrapped(blob),),
            ),
        )


def _ended() -> Named:
    yield "ttl_now", _none("Ends at this very second.", item=sealed(ttl=NOW))
    yield "ttl_past", _none("Ended, but not yet deleted.", item=sealed(ttl=NOW - DAY))
    yield "ttl_zero", _none("Ended at 0.", item=sealed(ttl=0))
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
        _none("Without a not-before it is 0.", item=sealed(created=0), absolute_timeout=None),
    )


def _forged_end() -> dict[str, dict[str, Any]]:
    return sealed() | {"ttl": {"N": str(NOW - 1)}, "encryptedKey": {"B": ENCRYPTED_KEY[::-1]}}


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
                item=sealed(session_key=cookie),
                session_key=cookie,
            ),
        )
