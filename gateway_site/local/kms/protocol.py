"""One call: who asks for what in which Region, and the key that it names.

`operation` registers the functions of the other modules under KMS's names; `dispatch` runs one
of them under the store's lock. What every operation shares is here: finding a key by its id, its
ARN or its alias, asking its policy, checking its state, paging. Knows nothing of HTTP.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from . import policy
from .errors import KMSError
from .keys import DISABLED, ENABLED, PENDING_DELETION, Alias, Key, KeyStore, alias_arn
from .parameters import Parameters

DEFAULT_ACCOUNT = "123456789012"
REGION = r"([a-z]+-){2,3}[0-9]+"
ARN = re.compile(
    rf"arn:aws:kms:(?P<region>{REGION}):(?P<account>[0-9]{{12}}):"
    r"(?P<resource>key/[^/]+|alias/.+)"
)
KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")

Answer = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """The principal of a request's SigV4 credential scope. Its signature is not verified."""

    access_key_id: str
    region: str

    @property
    def account(self) -> str:
        """A 12-digit access key id is an account of its own: so tests get a foreign one."""
        own = re.fullmatch("[0-9]{12}", self.access_key_id)
        return self.access_key_id if own else DEFAULT_ACCOUNT

    @property
    def arn(self) -> str:
        return policy.user_arn(self.account, self.access_key_id)


@dataclass(frozen=True)
class Call:
    """A request under way."""

    store: KeyStore
    caller: Caller
    parameters: Parameters
    now: float

    def key(self, action: str) -> Key:
        """Return the key that `KeyId` names by id or ARN, if its policy allows the action."""
        identifier = self.parameters.required_text("KeyId")
        if _is_alias(identifier):
            raise KMSError(
                "InvalidArnException", "Key Aliases are not supported for this operation."
            )
        return self._find(identifier, action, malformed="InvalidArnException")

    def own_key(self, action: str) -> Key:
        """Return the key for an operation that AWS does not allow across accounts."""
        return self._own(self.key(action), action)

    def key_or_alias(self, identifier: str, action: str) -> Key:
        """Return the key of an id, ARN, alias or alias ARN, as cryptographic operations take it."""
        # Those operations have no InvalidArnException.
        return self._find(identifier, action, malformed="NotFoundException")

    def alias_target(self, action: str) -> Key:
        """Return the key that an alias is to name: of this account, and not another alias."""
        identifier = self.parameters.required_text("TargetKeyId")
        if _is_alias(identifier):
            raise KMSError("ValidationException", "Aliases must refer to keys. Not aliases")
        return self._own(self._find(identifier, action, malformed="NotFoundException"), action)

    def alias(self, name: str) -> Alias:
        account, region = self.caller.account, self.caller.region
        alias = self.store.alias(account, region, name)
        if alias is None:
            raise self._not_found(name)
        return alias

    def allowed(self, key: Key, action: str) -> bool:
        return policy.allows(key.policy, self.caller.account, self.caller.arn, f"kms:{action}")

    def denied(self, action: str, resource: str) -> KMSError:
        return KMSError(
            "AccessDeniedException",
            f"User: {self.caller.arn} is not authorized to perform: kms:{action} on {resource} "
            "because the resource does not exist in this Region, no resource-based policies allow "
            "access, or a resource-based policy explicitly denies access",
        )

    def end_dry_run(self) -> None:
        """Stop a call that would succeed, when it only asked whether it would."""
        if self.parameters.flag("DryRun"):
            raise KMSError(
                "DryRunOperationException",
                "The request would have succeeded, but the DryRun option is set.",
            )

    def _own(self, key: Key, action: str) -> Key:
        if key.account != self.caller.account:
            raise self.denied(action, f"resource: {key.arn}")
        return key

    def _find(self, identifier: str, action: str, *, malformed: str) -> Key:
        account, resource = self._parse(identifier, malformed)
        region, key_id = self.caller.region, resource
        if resource.startswith("alias/"):
            alias = self.store.alias(account, region, resource)
            key_id = alias.key_id if alias else ""
        key = self.store.key(account, region, key_id)
        if key is None:
            # What exists in another account is not told to strangers.
            foreign = account != self.caller.account
            raise self.denied(action, "this resource") if foreign else self._not_found(resource)
        if not self.allowed(key, action):
            raise self.denied(action, f"resource: {key.arn}")
        return key

    def _parse(self, identifier: str, malformed: str) -> tuple[str, str]:
        """Return the account, and the key id or alias name."""
        if identifier.startswith("arn:"):
            arn = ARN.fullmatch(identifier)
            if arn is None:
                raise KMSError(malformed, "Invalid arn")
            if arn["region"] != self.caller.region:
                raise KMSError("NotFoundException", f"Invalid arn {arn['region']}")
            return arn["account"], arn["resource"].removeprefix("key/")
        if not _is_alias(identifier) and not KEY_ID.fullmatch(identifier):
            raise KMSError("NotFoundException", "Invalid keyId")
        return self.caller.account, identifier

    def _not_found(self, resource: str) -> KMSError:
        account, region = self.caller.account, self.caller.region
        if resource.startswith("alias/"):
            arn = alias_arn(account, region, resource)
            return KMSError("NotFoundException", f"Alias {arn} is not found.")
        arn = f"arn:aws:kms:{region}:{account}:key/{resource}"
        return KMSError("NotFoundException", f"Key '{arn}' does not exist")


Operation = Callable[[Call], Answer]
OPERATIONS: dict[str, Operation] = {}


def operation(name: str) -> Callable[[Operation], Operation]:
    """Register a function as the KMS operation of this name."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return register


def dispatch(name: str, caller: Caller, body: bytes, store: KeyStore, now: float) -> Answer:
    """Run one of `OPERATIONS` and return its answer; raise `KMSError` for all other outcomes."""
    parameters = Parameters.from_json(body)
    # Grants do not exist here: tokens are checked for their form and have no effect.
    parameters.texts("GrantTokens", count=10, maximum=8192)
    parameters.flag("DryRun")
    with store.lock:
        store.catch_up(now)
        return OPERATIONS[name](Call(store, caller, parameters, now))


def require_enabled(key: Key) -> None:
    """Raise what the "Key state table" of the Developer Guide says for cryptographic use."""
    if key.state == DISABLED:
        raise KMSError("DisabledException", f"{key.arn} is disabled.")
    require_not_pending(key)


def require_not_pending(key: Key) -> None:
    """Raise `KMSInvalidStateException` for a key that waits for its deletion."""
    if key.state not in (ENABLED, DISABLED):
        what = "deletion" if key.state == PENDING_DELETION else "replica deletion"
        raise KMSError("KMSInvalidStateException", f"{key.arn} is pending {what}.")


def page(
    call: Call, items: Iterable[T], sort_key: Callable[[T], str], *, limit: int = 100
) -> tuple[list[T], dict[str, object]]:
    """Return one page of items, and the members that say how to get the next."""
    size = call.parameters.integer("Limit", 1, 1000) or limit
    marker = call.parameters.text("Marker", maximum=1024)
    after = "" if marker is None else _unmark(marker)
    rest = sorted((item for item in items if sort_key(item) > after), key=sort_key)
    found, more = rest[:size], len(rest) > size
    paging: dict[str, object] = {"Truncated": more}
    if more:
        paging["NextMarker"] = base64.urlsafe_b64encode(sort_key(found[-1]).encode()).decode()
    return found, paging


def _unmark(marker: str) -> str:
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise KMSError("InvalidMarkerException", "The marker is not valid.") from None


def _is_alias(identifier: str) -> bool:
    return identifier.startswith("alias/") or ":alias/" in identifier
