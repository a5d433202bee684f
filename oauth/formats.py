"""Strict JSON and base64url, as strangers send them. Pure.

JSON is accepted only where every parser reads it alike: Python's accepts more than RFC 8259 (`NaN`,
`Infinity`, UTF-16), and of members with the same name it takes the last, where others take the
first.
"""

import base64
import hashlib
import json
from typing import Any, NoReturn


class InvalidJSON(ValueError):
    """A text is not JSON, or two parsers might read it differently."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a text. Raises InvalidJSON."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")  # RFC 8259 section 8.1: UTF-8 alone
        return json.loads(
            text, parse_constant=_reject_constant, object_pairs_hook=_reject_duplicates
        )
    except (RecursionError, ValueError):
        raise InvalidJSON from None


def _reject_constant(name: str) -> NoReturn:
    raise InvalidJSON


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidJSON
    return members


def encode_base64url(data: bytes) -> str:
    """Return bytes in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Return the bytes of base64url without padding. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hash_text(text: str) -> str:
    """Return the SHA-256 digest in base64url, such as a code challenge (RFC 7636 section 4.2).

    JSON can contain lone surrogates: a text with one has a digest that no other text has.
    """
    __traceback_hide__ = True
    return encode_base64url(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
