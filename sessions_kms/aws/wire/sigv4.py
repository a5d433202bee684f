"""Signature Version 4, in headers, of a POST to `/` without a query.

Headers and a body enter; the headers that sign them leave. What the requests of one moment have
in common is made once for them (`Signing`). Knows neither DynamoDB nor HTTP.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

ALGORITHM: Final = "AWS4-HMAC-SHA256"
# Of an HMAC by SHA-256: RFC 2104, 2. No key of ours is longer than a block.
BLOCK: Final = 64  # bytes
INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"


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
    """How the requests of one moment are signed that have the same headers."""

    headers: dict[str, str]  # to be sent besides those; the last one goes on with the signature
    # Begun, as what they have in common is the longest part; each request goes on with copies.
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
                derived = _hmac(derived, part)
            self._key = key = _Key(secret, date, derived)
        return key.derived


def _canonical_head(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return a canonical request up to the digest of its body, and the names of its headers as
    they are told in a signature.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request
    """
    __traceback_hide__ = True
    named = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    lines = "".join([f"{name}:{value}\n" for name, value in named])
    signed = ";".join([name for name, _ in named])
    return f"POST\n/\n\n{lines}\n{signed}\n", signed


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.digest(key, message.encode(), "sha256")
