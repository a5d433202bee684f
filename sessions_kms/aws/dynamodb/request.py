"""A request for an operation of DynamoDB: its signed bytes, and what its response says.

Parameters and responses are those of boto's client. Signature Version 4 signs the headers of a POST
to `/`. What the requests of one second have in common is written and signed once. No I/O.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from sessions_kms.aws.dynamodb import request_json, response_json
from sessions_kms.aws.dynamodb.shapes import DETAILS, REQUESTS
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response
from sessions_kms.http.connecting import Origin
from sessions_kms.http.fields import is_name, is_printable_ascii

SERVICE: Final = "dynamodb"
TRANSACTION: Final = "TransactWriteItems"
TOKEN: Final = "ClientRequestToken"  # noqa: S105 - the name of a parameter
QUERY: Final = "Query"
NOTHING: Final = frozenset({"ResponseMetadata"})
CONDITION_FAILED: Final = "ConditionalCheckFailedException"
OF_TRANSACTIONS: Final = frozenset(
    {
        "IdempotentParameterMismatchException",
        "TransactionCanceledException",
        "TransactionInProgressException",
    }
)
HEADERS: Final = {
    name: {
        "X-Amz-Target": f"DynamoDB_20120810.{name}",
        "Content-Type": "application/x-amz-json-1.0",
    }
    for name in REQUESTS
}
ALGORITHM: Final = "AWS4-HMAC-SHA256"
# Of an HMAC by SHA-256: RFC 2104, 2. No key of ours is longer than a block.
BLOCK: Final = 64  # bytes
INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
FRAMING: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_PATH = re.compile(r"/[\x21-\x7e]*")


class Credentials(Protocol):
    """What boto calls frozen credentials; its type says that they may lack what all have."""

    @property
    def access_key(self) -> str | None: ...
    @property
    def secret_key(self) -> str | None: ...
    @property
    def token(self) -> str | None: ...


class _Key(NamedTuple):
    """A signing key, and what it was derived from."""

    secret: str
    date: str
    derived: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Signing:
    """Signs the requests of one second that have the same headers."""

    headers: dict[str, str]  # to be sent as well; the last one ends with the signature
    # Of the common part, which is the longest; each request continues copies of them.
    _canonical: "hashlib._Hash"
    _to_sign: "hashlib._Hash"  # the inner one of an HMAC (RFC 2104)
    _signed: "hashlib._Hash"  # the outer one

    def signature(self, body: bytes) -> str:
        """Return the signature of the request with a body."""
        __traceback_hide__ = True
        canonical = self._canonical.copy()
        canonical.update(sha256(body).hexdigest().encode())
        to_sign = self._to_sign.copy()
        to_sign.update(canonical.hexdigest().encode())
        signed = self._signed.copy()
        signed.update(to_sign.digest())
        return signed.hexdigest()


class Signer:
    """Signs the requests to one service in one Region; its key is derived once a day and secret."""

    def __init__(self, region: str, service: str) -> None:
        self._region = region
        self._service = service
        self._key = _Key("", "", b"")  # the last one, replaced as a whole: threads share it

    def signing(
        self, headers: Mapping[str, str], credentials: Credentials, at: datetime
    ) -> Signing:
        """Return what signs requests with these headers, each of which is signed, and any body.

        ``at`` knows its zone. An empty token is none, as boto has it.
        """
        __traceback_hide__ = True
        stamp = at.astimezone(UTC).strftime(TIMESTAMP)
        own = {"X-Amz-Date": stamp}
        if credentials.token:
            own["X-Amz-Security-Token"] = credentials.token
        canonical, signed = _canonical_head({**headers, **own})
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        own["Authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed},"
            " Signature="
        )
        key = self._signing_key(credentials.secret_key or "", stamp[:8]).ljust(BLOCK, b"\0")
        to_sign = f"{ALGORITHM}\n{stamp}\n{scope}\n".encode()
        inner, outer = key.translate(INNER), key.translate(OUTER)
        return Signing(own, sha256(canonical.encode()), sha256(inner + to_sign), sha256(outer))

    def _signing_key(self, secret: str, date: str) -> bytes:
        __traceback_hide__ = True
        key = self._key
        if key.date != date or key.secret != secret:
            derived = f"AWS4{secret}".encode()
            for part in (date, self._region, self._service, "aws4_request"):
                derived = hmac.digest(derived, part.encode(), "sha256")
            self._key = key = _Key(secret, date, derived)
        return key.derived


def _canonical_head(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return a canonical request up to the digest of its body, and its `SignedHeaders`.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request
    """
    __traceback_hide__ = True
    named = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    lines = "".join([f"{name}:{value}\n" for name, value in named])
    signed = ";".join([name for name, _ in named])
    return f"POST\n/\n\n{lines}\n{signed}\n", signed


def write_head(host: str, headers: Iterable[tuple[str, str]], *, path: str = "/") -> str:
    """Return a POST request up to the value of its last header, which is incomplete.

    ``host`` is the `Host` header, with the port. Raises ValueError for what the other end could
    read as something else: CR, LF, NUL and all else that is not printable ASCII, and the headers
    that are written here.
    """
    __traceback_hide__ = True  # credentials may stand in the headers
    if not is_printable_ascii(host) or not _PATH.fullmatch(path):
        raise ValueError("The host's header or the path is not printable ASCII.")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", *(_line(*each) for each in headers)]
    return "\r\n".join(lines)


def write_request(start: str, value: str, body: bytes) -> bytes:
    """Return a whole request: its start, the rest of the last value, a body. Raises ValueError."""
    __traceback_hide__ = True
    if not (value.isascii() and value.isprintable()):
        raise ValueError("A header is not printable ASCII.")
    return f"{start}{value}\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii") + body


def _line(name: str, value: str) -> str:
    __traceback_hide__ = True
    if not is_name(name):
        raise ValueError("The name of a header is not a token.")
    if name.lower() in FRAMING:
        raise ValueError("A header that frames the request is not the caller's to set.")
    if not is_printable_ascii(value):
        raise ValueError("A header is not printable ASCII.")
    return f"{name}: {value}"


class _Head(NamedTuple):
    """What the requests for one operation in one second have in common."""

    credentials: Credentials
    at: int
    start: str
    signing: Signing

    def __repr__(self) -> str:
        return "_Head()"


@dataclass(frozen=True)
class Target:
    """Where a table's requests go, for which Region they are signed, and the user agent."""

    origin: Origin
    region: str
    user_agent: str

    # Of the last request of each operation.
    heads: dict[str, _Head] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def _signer(self) -> Signer:
        return Signer(self.region, SERVICE)

    def sign_head(self, operation: str, credentials: Credentials, at: int) -> _Head:
        """Sign what the requests for an operation in a second have in common. Raises ValueError."""
        __traceback_hide__ = True
        host, headers = self.origin.authority, HEADERS[operation]
        moment = datetime.fromtimestamp(at, UTC)
        signing = self._signer.signing({"Host": host, **headers}, credentials, moment)
        unsigned = {"User-Agent": self.user_agent, "Accept-Encoding": "identity"}
        start = write_head(host, {**headers, **unsigned, **signing.headers}.items())
        made = self.heads[operation] = _Head(credentials, at, start, signing)
        return made


class DynamoDBRequest:
    """An operation and its parameters; it stays the same request however often it is sent."""

    __slots__ = ("_operation", "_params", "_target", "body")

    def __init__(self, target: Target, operation: str, params: Mapping[str, Any]) -> None:
        """Write the body. Raises TypeError that names the invalid parameter."""
        __traceback_hide__ = True
        self._target = target
        self._operation = operation
        self._params = params
        if operation == TRANSACTION and TOKEN not in params:
            # As boto does: sent again with the same body, it is applied once.
            params = {**params, TOKEN: str(uuid.uuid4())}
        self.body = request_json.write_body(operation, params)

    def to_bytes(self, credentials: Credentials, at: int) -> bytes:
        """Return the request, signed at an epoch second. Raises ValueError."""
        __traceback_hide__ = True
        head = self._target.heads.get(self._operation)
        if head is None or head.at != at or head.credentials is not credentials:
            head = self._target.sign_head(self._operation, credentials, at)
        return write_request(head.start, head.signing.signature(self.body), self.body)

    def parse(self, response: Response) -> dict[str, Any]:
        """Return a parsed response.

        Raises botocore's ClientError, or InvalidResponse, also for one to another request.
        """
        __traceback_hide__ = True
        if response.status != response_json.OK:
            self._raise_error(response)
        parsed = response_json.parse(self._operation, response)
        if self._matches(parsed):
            return parsed
        raise InvalidResponse

    def _matches(self, parsed: Mapping[str, Any]) -> bool:
        """Return False if a response shows that it is another request's."""
        params = self._params
        requested, capacity = params.get("ReturnConsumedCapacity"), parsed.get("ConsumedCapacity")
        if capacity is not None:
            if requested is None or not self._is_of_tables(capacity, detailed=requested != "TOTAL"):
                return False
        elif requested is not None and parsed.keys() <= NOTHING:
            return False
        if (item := parsed.get("Item")) is not None:
            return bool(params["Key"].items() <= item.items())
        if "Attributes" in parsed:
            return bool(params.get("ReturnValues", "NONE") != "NONE")
        return self._operation != QUERY or requested is None or "Items" in parsed

    def _is_of_tables(self, capacity: Any, *, detailed: bool) -> bool:
        """Return True for the capacity of this request's tables, as detailed as requested."""
        if isinstance(capacity, list):  # as that of a transaction is, and no other
            tables = {
                member["TableName"]
                for action in self._params["TransactItems"]
                for member in action.values()
            }
            return all(each.get("TableName") in tables for each in capacity)
        if not detailed and not DETAILS.isdisjoint(capacity):
            return False
        return bool(capacity.get("TableName") == self._params.get("TableName"))

    def _raise_error(self, response: Response) -> NoReturn:
        """Raise the error of a response, if this request can have it."""
        __traceback_hide__ = True
        from botocore.exceptions import ClientError

        try:
            response_json.parse(self._operation, response)
        except ClientError as exc:
            if self._can_have_error(exc.response["Error"]["Code"]):
                raise
        raise InvalidResponse  # Outside the handler: its error holds the body.

    def _can_have_error(self, code: str) -> bool:
        if code == CONDITION_FAILED:
            return "ConditionExpression" in self._params
        return code not in OF_TRANSACTIONS or self._operation == TRANSACTION
