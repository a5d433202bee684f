"""Signature Version 4, in headers, of a POST to `/` without a query.

Headers and a body enter; the headers that sign them leave. Knows neither DynamoDB nor HTTP.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
from collections.abc import Mapping
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


class Signer:
    """Signs the requests to one service in one Region; its key is derived once a day and secret."""

    def __init__(self, region: str, service: str) -> None:
        self._region = region
        self._service = service
        self._key = _Key("", "", b"")  # the last one, replaced as a whole: threads share it

    def sign(
        self, headers: Mapping[str, str], body: bytes, credentials: Credentials, at: datetime
    ) -> dict[str, str]:
        """Return the headers that sign these, of which each is signed, and the body.

        ``at`` knows its zone. An empty token is none, as boto has it.
        """
        __traceback_hide__ = True
        stamp = at.astimezone(UTC).strftime(TIMESTAMP)
        own = {"X-Amz-Date": stamp}
        if credentials.token:
            own["X-Amz-Security-Token"] = credentials.token
        canonical, signed = _canonical_request({**headers, **own}, body)
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        digest = sha256(canonical.encode()).hexdigest()
        to_sign = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        key = self._signing_key(credentials.secret_key or "", stamp[:8])
        own["Authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed},"
            f" Signature={_hmac(key, to_sign).hex()}"
        )
        return own

    def _signing_key(self, secret: str, date: str) -> bytes:
        __traceback_hide__ = True
        key = self._key
        if key.date != date or key.secret != secret:
            derived = f"AWS4{secret}".encode()
            for part in (date, self._region, self._service, "aws4_request"):
                derived = _hmac(derived, part)
            self._key = key = _Key(secret, date, derived)
        return key.derived


def _canonical_request(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """Return the canonical request, and the names of its headers as they are told in a signature.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request
    """
    __traceback_hide__ = True
    named = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    lines = "".join([f"{name}:{value}\n" for name, value in named])
    signed = ";".join([name for name, _ in named])
    return f"POST\n/\n\n{lines}\n{signed}\n{sha256(body).hexdigest()}", signed


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.digest(key, message.encode(), "sha256")
