"""Where boto would send a request, for which Region it would sign it, and as which client.

boto's own client is asked, by a request that is made, signed and not sent: endpoints of the
environment, of FIPS, of dual stack and of accounts are its rules, and stay so. Imports botocore.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
"""

import io
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict

from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.wire.exchange import Target

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PORTS = {"http": 80, "https": 443}

_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/ ]+/[0-9]{8}/([^/ ]+)/dynamodb/aws4_request, .*"
)
_asked: ContextVar[list[AWSPreparedRequest] | None] = ContextVar("sessions_kms_asked", default=None)


def tell_targets(client: "DynamoDBClient") -> None:
    """Have a client tell where it would send, to who asks by `target_of`, and to nobody else."""
    events: Any = client.meta.events
    events.register_first("before-send.dynamodb", _keep)


def target_of(client: "DynamoDBClient", table: str) -> Target | None:
    """Return where the requests of a table go; None where only boto can send them there.

    Raises what boto raises. It may have to wait for credentials.
    """
    kept: list[AWSPreparedRequest] = []
    token = _asked.set(kept)
    try:
        client.get_item(TableName=table, Key={"id": {"S": "nothing"}})
    finally:
        _asked.reset(token)
    return _target(kept[0])


def _keep(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
    """Keep a request, and answer it with nothing, where somebody asks."""
    kept = _asked.get()
    if kept is None:
        return None
    kept.append(request)
    return AWSResponse(request.url, 200, cast("Any", HeadersDict()), _Nothing(b"{}"))


class _Nothing(io.BytesIO):
    """What urllib3 would give."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _target(request: AWSPreparedRequest) -> Target | None:
    url = urlsplit(request.url)
    told = _SIGNATURE.fullmatch(_header(request, "Authorization"))
    agent = _header(request, "User-Agent")
    odd = url.path not in {"", "/"} or url.query or url.fragment or url.username is not None
    if told is None or odd or url.hostname is None or url.scheme not in PORTS:
        return None
    if not (agent.isascii() and agent.isprintable() and url.hostname.isascii()):
        return None
    port = url.port or PORTS[url.scheme]
    return Target(Endpoint(url.hostname, port, url.scheme == "https"), told[1], agent)


def _header(request: AWSPreparedRequest, name: str) -> str:
    value: Any = request.headers.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)
