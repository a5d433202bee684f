"""The members of one request: JSON object in, checked values of known types out.

A value of the wrong type is a `SerializationException`, one outside its documented bounds a
`ValidationException`, as AWS answers them. Bounds are those of the published service model.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection
from typing import TypeVar

from .errors import KMSError, constraint, invalid

# AWS publishes no bound for an encryption context; this one keeps requests small.
MAX_CONTEXT_BYTES = 8192
MAX_TAGS = 50
PLAINTEXT_BYTES = 4096
CIPHERTEXT_BYTES = 6144

T = TypeVar("T", str, int, bool)


class Parameters:
    """Typed access to the members of a request. Unknown members are ignored, as AWS does."""

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    @classmethod
    def from_json(cls, body: bytes) -> Parameters:
        """Parse a request body; raise `SerializationException` unless it is a JSON object."""
        try:
            members = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise _serialization("The request body is not JSON.") from None
        if not isinstance(members, dict):
            raise _serialization("The request body is not a JSON object.")
        return cls(members)

    def refuse(self, *names: str) -> None:
        """Fail closed on members whose effect this local KMS cannot give."""
        for name in names:
            if self._members.get(name) is not None:
                raise invalid(f"{name} is not supported by this local KMS.")

    def text(
        self, name: str, *, minimum: int = 1, maximum: int = 2048, pattern: str | None = None
    ) -> str | None:
        value = self._typed(name, str)
        if value is None:
            return None
        _check_length(name, len(value), minimum, maximum)
        if pattern is not None and not re.fullmatch(pattern, value):
            raise constraint(name, f"satisfy regular expression pattern: {pattern}")
        return value

    def required_text(
        self, name: str, *, minimum: int = 1, maximum: int = 2048, pattern: str | None = None
    ) -> str:
        value = self.text(name, minimum=minimum, maximum=maximum, pattern=pattern)
        if value is None:
            raise constraint(name, "not be null")
        return value

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        value = self._typed(name, str)
        if value is not None and value not in allowed:
            raise constraint(name, f"satisfy enum value set: [{', '.join(allowed)}]")
        return value

    def integer(self, name: str, minimum: int, maximum: int) -> int | None:
        value = self._typed(name, int)
        if value is not None and not minimum <= value <= maximum:
            bound, word = (minimum, "greater") if value < minimum else (maximum, "less")
            raise constraint(name, f"have value {word} than or equal to {bound}")
        return value

    def flag(self, name: str) -> bool:
        return bool(self._typed(name, bool))

    def blob(self, name: str, maximum: int) -> bytes:
        text = self._typed(name, str)
        if text is None:
            raise constraint(name, "not be null")
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise _serialization(f"{name} is not base64.") from None
        _check_length(name, len(value), 1, maximum)
        return value

    def context(self, name: str) -> dict[str, str]:
        """Return an encryption context; absent and empty are the same, as in AWS."""
        value = self._members.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise _serialization(f"{name} is not a map of strings.")
        pairs = {_encodable(name, key): _encodable(name, text) for key, text in value.items()}
        if not all(key and text for key, text in pairs.items()):
            raise invalid(f"{name} has an empty key or value.")
        if sum(len(k.encode()) + len(v.encode()) for k, v in pairs.items()) > MAX_CONTEXT_BYTES:
            raise invalid(f"{name} is larger than {MAX_CONTEXT_BYTES} bytes.")
        return pairs

    def texts(self, name: str, *, count: int, maximum: int) -> list[str]:
        value = self._list(name)
        texts = [_encodable(name, text) for text in value]
        if len(texts) > count:
            raise constraint(name, f"have length less than or equal to {count}")
        for text in texts:
            _check_length(name, len(text), 1, maximum)
        return texts

    def tags(self, name: str = "Tags") -> dict[str, str]:
        """Return tags; raise `TagException` for duplicates and reserved keys."""
        tags: dict[str, str] = {}
        for item in self._list(name):
            if not isinstance(item, dict):
                raise _serialization(f"{name} is not a list of tags.")
            tag = Parameters(item)
            key = tag.required_text("TagKey", maximum=128)
            if key in tags:
                raise KMSError("TagException", "Duplicate tag keys")
            if key.lower().startswith("aws:"):
                raise KMSError("TagException", "Tag keys may not begin with aws:")
            tags[key] = tag.required_text("TagValue", minimum=0, maximum=256)
        if len(tags) > MAX_TAGS:
            raise KMSError("TagException", f"A key has at most {MAX_TAGS} tags.")
        return tags

    def _list(self, name: str) -> list[object]:
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _serialization(f"{name} is not a list.")
        return value

    def _typed(self, name: str, kind: type[T]) -> T | None:
        value = self._members.get(name)
        if value is None:
            return None
        # bool is an int to Python, but not to JSON: compare the exact type.
        if type(value) is not kind:
            raise _serialization(f"{name} is not of type {kind.__name__}.")
        if isinstance(value, str):
            _encodable(name, value)
        return value


def _check_length(name: str, length: int, minimum: int, maximum: int) -> None:
    if not minimum <= length <= maximum:
        bound, word = (minimum, "greater") if length < minimum else (maximum, "less")
        raise constraint(name, f"have length {word} than or equal to {bound}")


def _encodable(name: str, value: object) -> str:
    """Refuse what is not text and text that has no UTF-8 form (a lone surrogate)."""
    if not isinstance(value, str):
        raise _serialization(f"{name} has a value that is not a string.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _serialization(f"{name} has text that is not Unicode.") from None
    return value


def _serialization(message: str) -> KMSError:
    return KMSError("SerializationException", message)
