"""Which client sends DynamoDB requests, and where boto would send them.

Takes boto's client and the setting `CLIENT`; returns a choice with its reason, and a target. Only
boto can use a proxy, for example, and instrumentation of boto misses other clients' requests. To
find the target, boto's own client builds and signs a request that is not sent: the endpoints of
the environment, of FIPS, of dual stack and of accounts remain boto's rules. Imports botocore and
relies on its internals; where they have changed, boto is chosen.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
"""

import inspect
import io
import re
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast
from urllib.parse import urlsplit

import botocore
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.client import BaseClient
from botocore.endpoint import Endpoint as BotoEndpoint
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies

from sessions_kms.aws.dynamodb.request import Target
from sessions_kms.aws.dynamodb.shapes import OPERATIONS
from sessions_kms.aws.errors import ClientUnsupported
from sessions_kms.http.connecting import Origin

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ClientSetting = Literal["auto", "boto", "builtin"]

# The events of a call by boto.
CALL_EVENTS: Final = (
    "provide-client-params",
    "before-parameter-build",
    "before-call",
    "request-created",
    "before-sign",
    "before-send",
    "before-parse",
    "response-received",
    "after-call",
    "after-call-error",
)
# The functions that instrumentation replaces.
WRAPPED_FUNCTIONS: Final[tuple[tuple[type, str], ...]] = (
    (BaseClient, "_make_api_call"),
    (BaseClient, "_make_request"),
    (BotoEndpoint, "make_request"),
    (BotoEndpoint, "_send_request"),
)
OWN_MODULES: Final = ("botocore", "boto3", "sessions_kms")
PORTS = {"http": 80, "https": 443}

_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/ ]+/[0-9]{8}/([^/ ]+)/dynamodb/aws4_request, .*"
)
_captured: ContextVar[list[AWSPreparedRequest] | None] = ContextVar(
    "sessions_kms_captured", default=None
)


class Choice(NamedTuple):
    """``authorities`` is the file of the certificate authorities for the built-in client."""

    is_builtin: bool
    reason: str
    authorities: str = ""


def choose(client: "DynamoDBClient", setting: ClientSetting) -> Choice:
    """Return the client to use. Raises ClientUnsupported."""
    if setting == "boto":
        return Choice(False, "CLIENT is 'boto'")
    obstacle = next(_obstacles(client), None)
    if obstacle is not None and setting == "builtin":
        raise ClientUnsupported(
            f"SESSIONS_KMS['CLIENT'] is 'builtin', which does not support {obstacle}."
            " Set it to 'auto' or 'boto'."
        )
    if obstacle is not None:
        return Choice(False, f"only boto supports {obstacle}")
    if setting == "auto" and (instrument := _instrumentation(client)) is not None:
        return Choice(False, f"boto is instrumented by {instrument}")
    reason = "CLIENT is 'builtin'" if setting == "builtin" else "no boto instrumentation found"
    return Choice(True, reason, str(get_cert_path(_http_session(client)._verify)))


def _obstacles(client: "DynamoDBClient") -> Iterator[str]:
    """Yield what the built-in client does not support, in words."""
    config: Any = client.meta.config
    proxies = config.proxies or get_environ_proxies(client.meta.endpoint_url)
    if ProxyConfiguration(proxies=proxies).proxy_url_for(client.meta.endpoint_url):
        yield "a proxy for DynamoDB's endpoint"
    if config.client_cert is not None:
        yield "a client certificate"
    verify = _http_session(client)._verify
    if not verify:
        yield "TLS without verification"
    elif not Path(str(get_cert_path(verify))).is_file():
        yield "an AWS_CA_BUNDLE that is not a file"


def _http_session(client: "DynamoDBClient") -> Any:
    """Return boto's HTTP session, which has the settings of the environment and of profiles."""
    boto: Any = client
    return boto._endpoint.http_session


def _instrumentation(client: "DynamoDBClient") -> str | None:
    """Return what else takes part in boto's calls, as X-Ray, OpenTelemetry and moto do."""
    for owner, name in WRAPPED_FUNCTIONS:
        if not _is_from_botocore(inspect.getattr_static(owner, name)):
            return f"a wrapper of {owner.__name__}.{name}"
    for method in OPERATIONS:
        if not _is_from_botocore(inspect.getattr_static(type(client), method)):
            return f"a wrapper of the client's {method}"
    return next(
        (name for name in _handler_modules(client) if name.partition(".")[0] not in OWN_MODULES),
        None,
    )


def _is_from_botocore(function: object) -> bool:
    """Return True for a function of botocore that Datadog has not rewritten."""
    if not isinstance(function, FunctionType) or hasattr(function, "__dd_wrapped__"):
        return False
    return Path(botocore.__file__).parent in Path(function.__code__.co_filename).parents


def _handler_modules(client: "DynamoDBClient") -> Iterator[str]:
    """Yield the modules of all handlers of a call's events."""
    events: Any = client.meta.events
    emitter = getattr(events, "_emitter", events)
    for event in CALL_EVENTS:
        for operation in OPERATIONS.values():
            try:
                found = emitter._handlers.prefix_search(f"{event}.dynamodb.{operation}")
            except AttributeError:
                yield "an unknown version of botocore"
                return
            yield from map(_module_of, found)


def _module_of(handler: Any) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    named = handler if inspect.isroutine(handler) else type(handler)
    return str(getattr(named, "__module__", None))


def capture_requests(client: "DynamoDBClient") -> None:
    """Let `target_of` capture this client's requests."""
    events: Any = client.meta.events
    events.register_first("before-send.dynamodb", _capture)


def target_of(client: "DynamoDBClient", table: str) -> Target | None:
    """Return where a table's requests go; None where only boto can send them there.

    Raises what boto raises. It may wait for credentials.
    """
    captured: list[AWSPreparedRequest] = []
    token = _captured.set(captured)
    try:
        client.get_item(TableName=table, Key={"id": {"S": "nothing"}})
    finally:
        _captured.reset(token)
    return _target_in(captured[0])


def _capture(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
    """Capture a request of `target_of`, and return an empty response to it."""
    captured = _captured.get()
    if captured is None:
        return None
    captured.append(request)
    return AWSResponse(request.url, 200, cast("Any", HeadersDict()), _RawBody(b"{}"))


class _RawBody(io.BytesIO):
    """A body as urllib3 has it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _target_in(request: AWSPreparedRequest) -> Target | None:
    url = urlsplit(request.url)
    signature = _SIGNATURE.fullmatch(_header(request, "Authorization"))
    agent = _header(request, "User-Agent")
    odd = url.path not in {"", "/"} or url.query or url.fragment or url.username is not None
    if signature is None or odd or url.hostname is None or url.scheme not in PORTS:
        return None
    if not (agent.isascii() and agent.isprintable() and url.hostname.isascii()):
        return None
    port = url.port or PORTS[url.scheme]
    return Target(Origin(url.hostname, port, url.scheme == "https"), signature[1], agent)


def _header(request: AWSPreparedRequest, name: str) -> str:
    value: Any = request.headers.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)
