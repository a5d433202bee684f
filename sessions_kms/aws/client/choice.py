"""Whether a table is asked by boto or by the wire: what only boto can do, or would be missed.

boto's client and a wish enter; the choice leaves, with its reason. Imports botocore, and looks
into it: where that has changed its shape, boto asks.
"""

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import botocore
from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.httpsession import get_cert_path

from sessions_kms.aws.client.asking import HOT
from sessions_kms.aws.client.wish import WireImpossible, Wish

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# What happens in a call by boto, before it and after it.
EVENTS: Final = (
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
# What instruments put themselves in the place of.
FUNCTIONS: Final[tuple[tuple[type, str], ...]] = (
    (BaseClient, "_make_api_call"),
    (BaseClient, "_make_request"),
    (Endpoint, "make_request"),
    (Endpoint, "_send_request"),
)
OURS: Final = ("botocore", "boto3", "sessions_kms")


class Choice(NamedTuple):
    """``authorities`` is the file of those whom the wire's TLS is to believe, where it asks."""

    by_wire: bool
    why: str
    authorities: str = ""


def choose(client: "DynamoDBClient", wish: Wish) -> Choice:
    """Return who asks. Raises WireImpossible."""
    if wish == "boto":
        return Choice(False, "CLIENT is 'boto'")
    obstacle = next(_obstacles(client), None)
    if obstacle is not None and wish == "wire":
        raise WireImpossible(
            f"SESSIONS_KMS['CLIENT'] is 'wire', which knows no {obstacle}."
            " Set it to 'auto' or to 'boto'."
        )
    if obstacle is not None:
        return Choice(False, f"there is a {obstacle}, which only boto knows")
    if wish == "auto" and (watcher := _watcher(client)) is not None:
        return Choice(False, f"{watcher} watches boto's calls, and would miss ours")
    why = "CLIENT is 'wire'" if wish == "wire" else "nothing watches boto's calls"
    return Choice(True, why, str(get_cert_path(_session(client)._verify)))


def _obstacles(client: "DynamoDBClient") -> Iterator[str]:
    """Yield what the wire cannot do, in words."""
    session = _session(client)
    if session._proxy_config.proxy_url_for(client.meta.endpoint_url):
        yield "proxy for DynamoDB's endpoint"
    if session._cert_file is not None:
        yield "client certificate"
    if not session._verify:
        yield "TLS without verification"
    elif not Path(str(get_cert_path(session._verify))).is_file():
        yield "AWS_CA_BUNDLE that is no file"


def _session(client: "DynamoDBClient") -> Any:
    """Return boto's HTTP session: the settings of the environment and of profiles are in it."""
    boto: Any = client
    return boto._endpoint.http_session


def _watcher(client: "DynamoDBClient") -> str | None:
    """Return who else has a hand in boto's calls, as X-Ray, OpenTelemetry and moto have."""
    for owner, name in FUNCTIONS:
        if not _is_botocores(inspect.getattr_static(owner, name)):
            return f"a wrapper of {owner.__name__}.{name}"
    for method in HOT:
        if not _is_botocores(inspect.getattr_static(type(client), method)):
            return f"a wrapper of the client's {method}"
    return next((name for name in _handlers(client) if name.partition(".")[0] not in OURS), None)


def _is_botocores(function: object) -> bool:
    """Tell whether a function is one of botocore, which Datadog has not rewritten."""
    if not isinstance(function, FunctionType) or hasattr(function, "__dd_wrapped__"):
        return False
    return Path(botocore.__file__).parent in Path(function.__code__.co_filename).parents


def _handlers(client: "DynamoDBClient") -> Iterator[str]:
    """Yield where the handlers of the events of a call are from, as modules."""
    events: Any = client.meta.events
    emitter = getattr(events, "_emitter", events)
    for event in EVENTS:
        for operation in HOT.values():
            try:
                found = emitter._handlers.prefix_search(f"{event}.dynamodb.{operation}")
            except AttributeError:
                yield "something in a botocore of another shape"
                return
            yield from map(_home, found)


def _home(handler: Any) -> str:
    """Return the module that a handler is from."""
    while isinstance(handler, partial):
        handler = handler.func
    named = handler if inspect.isroutine(handler) else type(handler)
    return str(getattr(named, "__module__", None))
