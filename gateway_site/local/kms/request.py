"""One request: its Region, operation, parameters and key.

`register_operation` registers the functions of the other modules under KMS's names; `respond` runs
one of them in a transaction. A parameter of the wrong type is a `SerializationException`; one
outside its bounds, or unknown to the operation here, is a `ValidationException`. The bounds are
those of the published service model. This module does not depend on HTTP.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .keys import ENABLED, SYMMETRIC, USAGES, Key, KeyStore, build_key_arn

ACCOUNT = "123456789012"  # of all keys and all callers
PURPOSE = "It is for this project's development and tests, and has only what they use."
# AWS publishes no limit for an encryption context; this one keeps requests small.
MAX_CONTEXT_BYTES = 8192
MAC_ALGORITHM = "HMAC_SHA_256"

Response = Mapping[str, object]
T = TypeVar("T", str, int, bool)


class KMSError(Exception):
    """An error response with HTTP status 400; `code` becomes its `__type`.

    (AWS's Smithy model has other statuses for some codes, such as 409 for `DisabledException`, but
    AWS sends 400.)
    """

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Request:
    """A request in progress. A missing parameter is None, unless it is required."""

    region: str
    parameters: Mapping[str, object]
    store: KeyStore

    def get_text(self, name: str, *, maximum: int = 2048, pattern: str | None = None) -> str | None:
        value = self._get_typed(name, str)
        if value is not None:
            _check_range(name, len(value), 1, maximum, "length")
            if pattern is not None and not re.fullmatch(pattern, value):
                raise build_validation_error(name, f"satisfy the pattern {pattern}")
        return value

    def get_required_text(
        self, name: str, *, maximum: int = 2048, pattern: str | None = None
    ) -> str:
        value = self.get_text(name, maximum=maximum, pattern=pattern)
        if value is None:
            raise build_validation_error(name, "not be null")
        return value

    def get_integer(self, name: str, minimum: int, maximum: int) -> int | None:
        value = self._get_typed(name, int)
        if value is not None:
            _check_range(name, value, minimum, maximum, "value")
        return value

    def get_blob(self, name: str, maximum: int) -> bytes:
        """Return the bytes of a required parameter."""
        try:
            value = base64.b64decode(self._get_typed(name, str) or "", validate=True)
        except (binascii.Error, ValueError):
            raise KMSError("SerializationException", f"{name} is not base64.") from None
        _check_range(name, len(value), 1, maximum, "length")
        return value

    def get_context(self, name: str) -> dict[str, str]:
        """Return an encryption context; absent and empty are the same, as in AWS."""
        pairs = self.parameters.get(name, {})
        if not isinstance(pairs, dict) or not all(isinstance(v, str) for v in pairs.values()):
            raise KMSError("SerializationException", f"{name} is not a map of texts.")
        if not all(key and value for key, value in pairs.items()):
            raise build_validation_error(name, "have no empty key or value")
        length = sum(len(key.encode()) + len(value.encode()) for key, value in pairs.items())
        _check_range(name, length, 0, MAX_CONTEXT_BYTES, "length")
        return pairs

    def find_key(self, name: str = "KeyId") -> Key:
        """Return the key that a parameter names by id or ARN.

        Raises KMSError for an alias: operations that change a key do not accept one.
        """
        if "alias/" in self.get_required_text(name):
            raise build_validation_error(name, "refer to a key, not to an alias")
        return self.find_key_or_alias(name)

    def find_key_or_alias(self, name: str) -> Key:
        """Return the key of an id, ARN, alias or alias ARN."""
        arn = self.build_arn(self.get_required_text(name))
        key = self.store.get_alias_target(arn) if ":alias/" in arn else self.store.get_key(arn)
        if key is None:
            raise KMSError("NotFoundException", f"{arn} is not found.")
        return key

    def build_arn(self, identifier: str) -> str:
        """Return the ARN of a key or an alias; raise NotFoundException for another Region."""
        prefix = build_key_arn(self.region, ACCOUNT, "").removesuffix("key/")
        if identifier.startswith("alias/"):
            return prefix + identifier
        if not identifier.startswith("arn:"):
            return f"{prefix}key/{identifier}"
        if not identifier.startswith(prefix):
            raise KMSError("NotFoundException", f"Invalid arn: it is not of {self.region}.")
        return identifier

    def end_dry_run(self) -> None:
        """Raise the error for a successful dry run, if the request is a dry run."""
        if self._get_typed("DryRun", bool):
            raise KMSError(
                "DryRunOperationException",
                "The request would have succeeded, but the DryRun option is set.",
            )

    def _get_typed(self, name: str, kind: type[T]) -> T | None:
        value = self.parameters.get(name)
        # bool is an int to Python, but not to JSON: compare the exact type.
        if value is not None and type(value) is not kind:
            raise KMSError("SerializationException", f"{name} is not of type {kind.__name__}.")
        return value


Operation = Callable[[Request], Response]
# By operation name: the function, and the parameters that it accepts.
OPERATIONS: dict[str, tuple[Operation, set[str]]] = {}


def register_operation(name: str, *parameters: str) -> Callable[[Operation], Operation]:
    """Register a function as the KMS operation of this name."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function, set(parameters)
        return function

    return register


def respond(name: str, region: str, body: bytes, store: KeyStore) -> Response:
    """Run one of `OPERATIONS` and return its response; raise `KMSError` for all other outcomes."""
    run, known = OPERATIONS[name]
    parameters = _parse(body)
    if unknown := sorted(set(parameters) - known):
        raise KMSError(
            "ValidationException", f"{name} has no {unknown[0]} in the local KMS. {PURPOSE}"
        )
    with store.transaction():
        return run(Request(region, parameters, store))


def require_enabled(key: Key) -> None:
    """Raise the error for cryptographic use from the "Key state table" of the Developer Guide."""
    if key.state != ENABLED:
        raise KMSError("DisabledException", f"{key.arn} is disabled.")


def require_spec(key: Key, spec: str = SYMMETRIC) -> None:
    """Raise `InvalidKeyUsageException` for a key of another spec."""
    if key.spec != spec:
        text = f"{key.arn} key usage is {USAGES[key.spec]} which is not valid for this operation."
        raise KMSError("InvalidKeyUsageException", text)


def build_validation_error(name: str, rule: str) -> KMSError:
    """Return the `ValidationException` for a parameter that breaks a rule."""
    return KMSError("ValidationException", f"Value at '{name}' is invalid: Member must {rule}")


def _check_range(name: str, number: int, minimum: int, maximum: int, what: str) -> None:
    if number < minimum:
        raise build_validation_error(name, f"have {what} greater than or equal to {minimum}")
    if number > maximum:
        raise build_validation_error(name, f"have {what} less than or equal to {maximum}")


def _parse(body: bytes) -> dict[str, object]:
    """Return the members of the JSON object in a body."""
    try:
        members = json.loads(body or b"{}")
        # A lone surrogate has no UTF-8 encoding, and could not be stored or encrypted.
        json.dumps(members, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise KMSError("SerializationException", "The request body is not JSON.") from None
    if not isinstance(members, dict):
        raise KMSError("SerializationException", "The request body is not a JSON object.")
    return members
