"""Signature Version 4, in headers, of a POST to `/` without a query.

Headers and a body enter; the headers that sign them leave. What the requests of one moment have
in common is made once for them (`Signing`). Knows neither DynamoDB nor HTTP.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

ALGORITHM: Final = "AWS4-HMAC-SHA256"
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
    _canonical: str
    _to_sign: str
    _keyed: hmac.HMAC  # by the key, which signs for a day

    def signature(self, body: bytes) -> str:
        """Return the signature of the request with a body."""
        __traceback_hide__ = True
        canonical = f"{self._canonical}{sha256(body).hexdigest()}"
        to_sign = f"{self._to_sign}{sha256(canonical.encode()).hexdigest()}"
        mac = self._keyed.copy()  # To begin a new one takes twice as long as all else here.
        mac.update(to_sign.encode())
        return mac.hexdigest()


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
        return Signing(
            own,
            canonical,
            f"{ALGORITHM}\n{stamp}\n{scope}\n",
            hmac.new(self._signing_key(credentials.secret_key or "", stamp[:8]), digestmod=sha256),
        )

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
