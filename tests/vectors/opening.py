"""The vectors of tokens: items that can be decrypted only with KMS and the token."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.sessions_kms.support import reference_format as ref
from tests.vectors import case

FOLDER: Final = "tokens"
TOKEN = "gwr_0123456789abcdefghijklmnopqrstuv"
OTHER_TOKEN = "gwr_zyxwvutsrqponmlkjihgfedcba987654"
ACCESS_TOKEN = "gwa_0123456789abcdefghijklmnopqrstuv"
CODE = "gwc_0123456789abcdefghijklmnopqrstuv"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # of RFC 7636, appendix B
STAMP = case.fixed_bytes("stamp", 16)
SESSION = ref.session_id(case.NAMESPACE, case.SESSION_KEY)
LIVE = {
    "key": case.SESSION_KEY,
    "session": SESSION,
    "client_id": "dcr.e30",
    "redirect_uri": "http://127.0.0.1/callback",
    "upstream": "mcp",
    "scope": "mcp",
    "resource": "https://gateway.example/gateway/mcp",
    "challenge": None,
    "previous": {
        "id": ref.token_id(case.NAMESPACE, OTHER_TOKEN),
        "spent_at": case.NOW - 60,
        "is_code": True,
    },
    "spent_at": None,
}
NAMING = LIVE | {
    "access_tokens": [
        {"id": ref.token_id(case.NAMESPACE, ACCESS_TOKEN), "ends_at": case.NOW + 3600}
    ],
    "refresh_token": ref.token_id(case.NAMESPACE, TOKEN),
    "refreshed_at": [case.NOW - 59.875, case.NOW - 1.5],
}
OF_A_KEY = NAMING | {
    "previous": LIVE["previous"] | {"is_code": False, "needs_authentication": True},  # type: ignore[operator]
    "needs_authentication": True,
    "user": "7",
}
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"  # of RFC 9449, section 6.1
BOUND = NAMING | {
    "previous": LIVE["previous"] | {"is_code": False, "jkt": JKT},  # type: ignore[operator]
    "jkt": JKT,
    "needs_proof": True,
}
SPENT = LIVE | {"key": None, "previous": None, "spent_at": case.NOW - 60}
ANSWER = {
    "key": case.SESSION_KEY,
    "access_token": ACCESS_TOKEN,
    "refresh_token": OTHER_TOKEN,
    "scope": "mcp",
    "access_token_ends_at": case.NOW + 3600,
    "refresh_token_ends_at": case.NOW + 86400,
    "grant_ends_at": case.NOW + 604800,
}
CODE_ANSWER = {
    "key": case.SESSION_KEY,
    "items": [ref.token_id(case.NAMESPACE, each) for each in (ACCESS_TOKEN, OTHER_TOKEN)],
}
NONE: Final = {"outcome": "none"}
CANNOT_TELL: Final = {"outcome": "cannot tell"}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One vector: an item, the token that is shown, and what that opens."""

    description: str
    item: case.Item
    expected: Mapping[str, Any]
    token: str = TOKEN
    verifier: str | None = None
    kms: tuple[case.Wrapped, ...] = (case.Wrapped(),)

    def to_text(self) -> str:
        """Return the content of the vector's file."""
        return case.vector_text(
            self.description,
            self.item,
            self.kms,
            self.expected,
            grantTimeout=case.GRANT_TIMEOUT,
            token=self.token,
            verifier=self.verifier,
        )


def seal(
    content: Any = LIVE,
    *,
    of: str = TOKEN,
    item_id: str | None = None,
    secret: str | None = None,
    data_key: bytes = case.DATA_KEY,
    **changes: Any,
) -> case.Item:
    """Return a whole item of a token."""
    named = {"id": {"S": item_id or ref.token_id(case.NAMESPACE, of)}}
    item = ref.seal(
        json.dumps(content).encode(),
        case.header(owner=None, revision=1) | named | changes,
        namespace=case.NAMESPACE,
        session_key=secret or of,
        data_key=data_key,
        iv=case.IV,
    )
    return item | {"stamp": {"B": STAMP}}


def longest(more: int = 0) -> dict[str, Any]:
    """Return a content of 32,768 bytes, or more."""
    empty = LIVE | {"later": ""}
    return LIVE | {"later": "x" * (32_768 + more - len(json.dumps(empty)))}


def answer(content: Any = ANSWER, **members: Any) -> case.Item:
    """Return a whole item of an answer."""
    named = {"item_id": ref.answer_id(case.NAMESPACE, members.get("of", TOKEN))} | members
    return {name: value for name, value in seal(content, **named).items() if name != "stamp"}


def tombstone(**changes: Any) -> case.Item:
    item: case.Item = {
        "id": {"S": ref.token_id(case.NAMESPACE, TOKEN)},
        "version": {"N": "1"},
        "ttl": {"N": str(case.TTL)},
        "stamp": {"B": STAMP},
        "session": {"S": SESSION},
        "spentAt": {"N": str(case.NOW - 600)},
    }
    return item | changes


def cases() -> Iterator[tuple[str, Opened]]:
    """Yield each vector with its name."""
    yield from _good()
    yield from _of_codes()
    yield from _ages()
    for name, description, item in _bad():
        yield name, Opened(description=description, item=item, expected=NONE)
    ahead = {"N": str(case.NOW + 301)}
    for name, description, item in (
        ("of_another_token", "The item of another token.", seal(of=OTHER_TOKEN)),
        ("updated_in_future", "Of a time to come.", seal(updatedAt=ahead)),
    ):
        yield name, Opened(description=description, item=item, expected=CANNOT_TELL)
    for name, description, token in (
        ("token_malformed", "Another length.", TOKEN + "0"),
        ("token_newline", "A newline after it.", TOKEN + "\n"),
        ("token_of_another_kind", "None of the three kinds.", TOKEN.replace("gwr_", "gwx_")),
    ):
        yield name, Opened(description=description, item=seal(), token=token, expected=NONE)


def _good() -> Iterator[tuple[str, Opened]]:
    for name, description, content in (
        ("live", "A refresh token.", LIVE),
        ("naming_access_tokens", "One that names the items of access tokens.", NAMING),
        ("of_a_key", "One with which its client has to authenticate.", OF_A_KEY),
        ("bound", "One that is bound to a key, of which its client has to send proofs.", BOUND),
        ("spent", "One that was spent: it leads to no key.", SPENT),
        ("longest", "A ciphertext of 32,768 bytes.", longest()),
        ("unknown_name", "With what a later release may add.", LIVE | {"later": 1}),
    ):
        expected = {"outcome": "token", "content": content}
        yield name, Opened(description=description, item=seal(content), expected=expected)
    bound = ANSWER | {"jkt": JKT}
    spent = {"outcome": "tombstone", "session": SESSION, "spentAt": case.NOW - 600}
    with_keys = "What was answered with tokens that are bound to a key."
    for name, description, item, outcome in (
        ("answer", "What was answered for a token.", answer(), _answered(ANSWER)),
        ("answer_bound", with_keys, answer(bound), _answered(bound)),
        ("tombstone", "A token that was spent, and whose successor was.", tombstone(), spent),
    ):
        yield name, Opened(description=description, item=item, expected=outcome)


def _answered(content: Any) -> dict[str, Any]:
    return {"outcome": "answer", "content": content}


def _of_codes() -> Iterator[tuple[str, Opened]]:
    """Yield the answer to a code, which takes the code and its verifier."""
    right = answer(CODE_ANSWER, of=CODE, secret=CODE + VERIFIER)
    for name, description, item, verifier in (
        ("", "What is kept of a redeemed code.", right, VERIFIER),
        ("_without_its_verifier", "Opened with the code alone.", right, None),
        ("_of_another_verifier", "Opened with another one.", right, VERIFIER[::-1]),
        ("_under_the_code_alone", "Sealed without one.", answer(CODE_ANSWER, of=CODE), VERIFIER),
    ):
        expected = NONE if name else _answered(CODE_ANSWER)
        made = Opened(
            description=description, item=item, expected=expected, token=CODE, verifier=verifier
        )
        yield f"answer_to_a_code{name}", made


def _ages() -> Iterator[tuple[str, Opened]]:
    """Yield items at the end of their grant, whatever their `ttl` says."""
    ahead = {"ttl": {"N": str(case.NOW + 2 * case.GRANT_TIMEOUT)}}
    for name, created in (
        ("at", case.NOW - case.GRANT_TIMEOUT),
        ("before", case.NOW - case.GRANT_TIMEOUT + 1),
    ):
        attributes = case.times(created, created) | ahead
        for what, item, content in (
            ("token", seal(**attributes), LIVE),
            ("answer", answer(**attributes), ANSWER),
        ):
            lives = {"outcome": what, "content": content}
            made = Opened(
                description=f"The {what} was written a grant's longest life ago.",
                item=item,
                expected=NONE if name == "at" else lives,
                kms=case.wrapped_keys_at(created),
            )
            yield f"{what}_{name}_the_timeout", made


def _bad() -> Iterator[tuple[str, str, case.Item]]:
    without = {name: value for name, value in seal().items() if name != "stamp"}
    past = {"N": str(case.NOW)}
    yield "flipped", "Changed bytes.", case.flip_data(seal())
    yield "too_long", "A ciphertext of 32,769 bytes.", seal(longest(1))
    yield "over", "A token that has ended.", seal(ttl=past)
    yield "longer", "One whose end was moved.", seal() | {"ttl": {"N": str(case.TTL + 1)}}
    yield "version_2", "Another format.", seal(version={"N": "2"})
    yield "stamp_missing", "Without its stamp.", without
    yield "stamp_of_15_bytes", "A stamp cut short.", seal() | {"stamp": {"B": STAMP[:15]}}
    yield "sealed_with_another_token", "Sealed under another token.", seal(secret=OTHER_TOKEN)
    yield (
        "sealed_with_the_session_key",
        "Sealed under the key it holds.",
        seal(secret=case.SESSION_KEY),
    )
    yield (
        "sealed_with_its_id",
        "Sealed as what lists show.",
        seal(secret=ref.token_id(case.NAMESPACE, TOKEN)),
    )
    yield "data_key_other", "Sealed under another data key.", seal(data_key=case.OTHER_DATA_KEY)
    yield (
        "answer_under_the_tokens_id",
        "The answer of a token, copied over its item.",
        answer() | {"id": {"S": ref.token_id(case.NAMESPACE, TOKEN)}, "stamp": {"B": STAMP}},
    )
    yield "answer_over", "An answer whose time is over.", answer(ttl=past)
    yield (
        "token_under_the_answers_id",
        "A token's item, copied over its answer.",
        seal() | {"id": {"S": ref.answer_id(case.NAMESPACE, TOKEN)}},
    )
    yield "tombstone_over", "A tombstone whose time is over.", tombstone(ttl=past)
    yield "tombstone_of_no_session", "It names no session.", tombstone(session={"S": "x"})
    yield "tombstone_of_version_2", "Another format.", tombstone(version={"N": "2"})
    yield "tombstone_without_stamp", "Without a stamp.", tombstone(stamp={"B": b""})
    yield (
        "tombstone_beside_a_tag",
        "Something was added to a sealed one.",
        tombstone() | {"authTag": {"B": bytes(16)}},
    )
