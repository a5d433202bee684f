"""The vectors of session metadata: items that are decrypted with KMS and without a cookie."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.sessions_kms.support import reference_format as ref
from tests.vectors import case

FOLDER = "about"
SESSION_ID = ref.session_id(case.NAMESPACE, case.SESSION_KEY)
WORDS = {"browser": "Firefox", "system": "Windows", "provider": "corp"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vector; without words no metadata is read."""

    description: str
    item: case.Item
    words: Mapping[str, str] | None = None
    absolute_timeout: int | None = 7 * case.DAY
    kms: tuple[case.Wrapped, ...] = (case.Wrapped(),)

    def to_text(self) -> str:
        """Return the content of the vector's file."""
        told = {"outcome": "none"} if self.words is None else {"outcome": "about"}
        return case.vector_text(
            self.description,
            self.item,
            self.kms,
            told | ({} if self.words is None else {"words": dict(self.words)}),
            absoluteTimeout=self.absolute_timeout,
            grantTimeout=case.GRANT_TIMEOUT,
            sessionId=SESSION_ID,
        )


def seal(
    words: Any = WORDS,
    *,
    plaintext: bytes | None = None,
    item_id: str = ref.about_id(case.NAMESPACE, SESSION_ID),
    secret: str | None = None,
    data_key: bytes = case.DATA_KEY,
    **changes: Any,
) -> case.Item:
    """Return a whole item."""
    return ref.seal(
        json.dumps(words).encode() if plaintext is None else plaintext,
        case.header(owner=None, revision=1) | {"id": {"S": item_id}} | changes,
        namespace=case.NAMESPACE,
        session_key=item_id if secret is None else secret,
        data_key=data_key,
        iv=case.IV,
    )


def cases() -> Iterator[tuple[str, Case]]:
    """Yield each vector with its name."""
    most = {f"name {number}": "x" * 100 for number in range(8)}
    for name, description, item, words in (
        ("told", "What a browser's session tells.", seal(), WORDS),
        ("empty", "A session that tells nothing.", seal({}), {}),
        (
            "eight_words",
            "As many words as there may be, as long as they may be.",
            seal(most),
            most,
        ),
        ("not_ascii", "Words of any language.", seal({"n": "Zo\u00eb"}), {"n": "Zo\u00eb"}),
    ):
        yield name, Case(description=description, item=item, words=words)
    other = ref.about_id(case.NAMESPACE, ref.session_id(case.NAMESPACE, case.OTHER_SESSION_KEY))
    for name, description, item in (
        ("nine_words", "Too many words.", seal(most | {"name 8": "x"})),
        ("word_too_long", "A word of 101 letters.", seal({"browser": "x" * 101})),
        ("word_no_text", "A word that is a number.", seal({"browser": 1})),
        ("list", "Words without names.", seal(["Firefox"])),
        ("not_json", "Another serializer's.", seal(plaintext=b"\x80\x04}.")),
        ("flipped", "Changed bytes.", case.flip_data(seal())),
        ("version_2", "Another format.", seal(version={"N": "2"})),
        (
            "key_of_another_data_key",
            "Sealed under another data key.",
            seal(data_key=case.OTHER_DATA_KEY),
        ),
        ("secret_of_the_session", "Sealed under the cookie.", seal(secret=case.SESSION_KEY)),
        (
            "put_under_another_session",
            "What another session tells, copied under this one's id.",
            seal(item_id=other) | {"id": {"S": ref.about_id(case.NAMESPACE, SESSION_ID)}},
        ),
        ("a_record", "A session's record.", seal(item_id=SESSION_ID, secret=case.SESSION_KEY)),
        (
            "too_long",
            "A ciphertext of 16,385 bytes.",
            seal(plaintext=b"{" + 16_383 * b" " + b"}"),
        ),
    ):
        yield name, Case(description=description, item=item)
    longest = seal(plaintext=b"{" + 16_382 * b" " + b"}")
    yield "longest", Case(description="A ciphertext of 16,384 bytes.", item=longest, words={})
    yield from _ages()


def _ages() -> Iterator[tuple[str, Case]]:
    """Yield metadata at their end, whatever their `ttl` says."""
    for name, timeout, updated, created, words in (
        ("at_the_longer_timeout", 7 * case.DAY, case.NOW, case.NOW - case.GRANT_TIMEOUT, None),
        (
            "before_the_longer_timeout",
            7 * case.DAY,
            case.NOW,
            case.NOW - case.GRANT_TIMEOUT + 1,
            WORDS,
        ),
        ("400_days_old", None, case.NOW - case.LONGEST_AGE, case.NOW - case.LONGEST_AGE, None),
        (
            "400_days_old_in_one_second",
            None,
            case.NOW - case.LONGEST_AGE + 1,
            case.NOW - 2 * case.LONGEST_AGE,
            WORDS,
        ),
    ):
        item = seal(**case.times(updated, created), ttl={"N": str(case.NOW + case.LONGEST_AGE)})
        made = Case(
            description="Its `ttl` is ahead, but other times count.",
            item=item,
            words=words,
            absolute_timeout=timeout,
            kms=case.wrapped_keys_at(updated),
        )
        yield name, made
