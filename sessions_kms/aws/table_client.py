"""A call of DynamoDB: by boto, or by the built-in client, in a thread or in an event loop.

Takes an operation and its parameters; returns the response as boto does, or raises an error of
ours. The built-in client covers the operations of requests. boto determines their endpoint and
credentials, and sends all other operations. This module does not depend on sessions.
"""

import logging
import os
import weakref
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sessions_kms.aws import clients
from sessions_kms.aws.calls import service
from sessions_kms.aws.clock import current_clock, signing_time
from sessions_kms.aws.dynamodb.request import DynamoDBRequest
from sessions_kms.aws.dynamodb.shapes import OPERATIONS
from sessions_kms.aws.errors import WRITES, NotStarted, table_error
from sessions_kms.aws.http_client.asynchronous import AsyncPool
from sessions_kms.aws.http_client.blocking import BlockingPool
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import BlockingCall, Wait
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from sessions_kms.aws.client_choice import ClientSetting
    from sessions_kms.aws.credentials import SharedCredentials
    from sessions_kms.aws.dynamodb.request import Target
    from sessions_kms.aws.http_client.connections import Connection
    from sessions_kms.aws.http_client.response import Response as HTTPResponse

logger = logging.getLogger(__name__)

Response = dict[str, Any]

CONNECTION: Final = "Connection"  # in a response's metadata; boto has no such member


async def call_table(
    client: "TableClient", operation: str, *, exclude: Container[object] = (), **params: Any
) -> Response:
    """Call one DynamoDB operation, on none of the excluded connections.

    Raises ConditionFailed, TransactionCanceled, or TableUnavailable for all other errors: of a
    write that was not applied, NotApplied if it may be repeated at once, and FateUnknown of one
    that was or may still be applied.
    """
    request = request_for(client, operation, params, exclude)
    probe = partial(_probe, client, params)
    with telemetry.timed("aws", service="dynamodb", operation=operation):
        try:
            if operation in WRITES:
                # Only `storage.writes`, which bounds it, knows whether it may be sent again.
                return await service("dynamodb").call(request, probe=probe, attempts=1)
            with deadline.call(deadline.HASTY.call):
                return await service("dynamodb").call(request, probe=probe)
        except Exception as exc:
            # A truncated or invalid body raises anything, not only botocore's own errors.
            raise table_error(exc, operation, params) from exc


def _probe(client: "TableClient", params: Mapping[str, Any]) -> Wait:
    """Return a request that reads nothing from the same table."""
    key = {"id": {"S": "probe"}}
    read = {"TableName": table_of(params), "Key": key, "ConsistentRead": True}
    return request_for(client, "get_item", read)


def table_of(params: Mapping[str, Any]) -> str:
    """Return the name of a request's table, in a transaction the first one's."""
    if "TransactItems" in params:
        ((params, *_), *_) = (action.values() for action in params["TransactItems"])
    name: str = params["TableName"]
    return name


def connection_of(response: Response) -> "Connection | None":
    """Return the connection on which a response came; None where boto sent the request."""
    found: Connection | None = response.get("ResponseMetadata", {}).get(CONNECTION)
    return found


def create_table_client(region: str | None, setting: "ClientSetting" = "auto") -> "TableClient":
    """Return a new client: boto's, or the built-in one, which contains boto's.

    Raises TableUnavailable as `clients.dynamodb_client` does, or ClientUnsupported.
    """
    from sessions_kms.aws.client_choice import choose  # imports botocore

    boto = clients.dynamodb_client(region)
    choice = choose(boto, setting)
    name = "built-in" if choice.is_builtin else "boto"
    logger.info("DynamoDB client: %s (%s).", name, choice.reason)
    if not choice.is_builtin:
        return boto
    return BuiltinClient(boto, clients.credentials(), choice.authorities)


class Endpoint:
    """Where a table's requests go, with connections for threads and for event loops.

    ``authorities`` is the file of the certificate authorities that TLS trusts.
    """

    def __init__(self, target: "Target", authorities: str) -> None:
        self.target = target
        self.blocking = BlockingPool(target.origin, authorities)
        self.asynchronous = AsyncPool(target.origin, authorities)


@dataclass(frozen=True)
class EndpointState:
    """What a request needs. Without an endpoint, only boto can send it."""

    credentials: Any = field(repr=False)
    endpoint: Endpoint | None


class BuiltinClient:
    """The built-in client, and boto's own for all that it does not cover."""

    def __init__(
        self, boto: "DynamoDBClient", credentials: "SharedCredentials", authorities: str = ""
    ) -> None:
        from sessions_kms.aws.client_choice import capture_requests

        self.boto = boto
        self.credentials = credentials
        self._authorities = authorities
        self._endpoints: dict[tuple[str | None, str], Endpoint | None] = {}
        self._last: dict[str, EndpointState] = {}  # of each table
        capture_requests(boto)
        weakref.finalize(self, _close_pools, self._endpoints, os.getpid())

    def current_state(self, table: str) -> EndpointState | None:
        """Return what a request for a table needs; None where that has to be waited for."""
        credentials = self.credentials.current()
        if credentials is None:
            return None
        last = self._last.get(table)
        if last is not None and last.credentials is credentials:
            return last
        key = (_account_of(credentials), table)
        return self._state(credentials, key) if key in self._endpoints else None

    def wait_for_state(self, table: str) -> EndpointState:
        """Return what a request for a table needs. Raises OutOfTime, or what boto raises."""
        from sessions_kms.aws.client_choice import target_of

        credentials = self.credentials.get_frozen_credentials()
        key = (_account_of(credentials), table)
        if key not in self._endpoints:
            target = target_of(self.boto, table)
            endpoint = None if target is None else Endpoint(target, self._authorities)
            self._endpoints.setdefault(key, endpoint)  # Another thread may have been first.
        return self._state(credentials, key)

    def _state(self, credentials: Any, key: tuple[str | None, str]) -> EndpointState:
        state = self._last[key[1]] = EndpointState(credentials, self._endpoints[key])
        return state


TableClient: TypeAlias = "DynamoDBClient | BuiltinClient"


def _close_pools(endpoints: Mapping[Any, Endpoint | None], process: int) -> None:
    """Close idle connections, but not those of a parent process."""
    if os.getpid() == process:
        for endpoint in endpoints.values():
            if endpoint is not None:
                endpoint.blocking.close()


def _account_of(credentials: Any) -> str | None:
    """Return the credentials' account, if they have it: it may be part of the host's name."""
    account: str | None = getattr(credentials, "account_id", None)
    return account


def request_for(
    client: TableClient,
    operation: str,
    params: Mapping[str, Any],
    exclude: Container[object] = (),
) -> Wait:
    """Return an awaitable that sends a request once, built-in if the client covers it.

    The built-in client uses none of the excluded connections; boto's cannot be chosen.
    """
    if not isinstance(client, BuiltinClient):
        return BotoRequest(client, operation, params)
    if operation in OPERATIONS:
        return BuiltinRequest(client, operation, params, exclude)
    return BotoRequest(client.boto, operation, params)


class BotoRequest(Wait):
    """A request by boto's client; an event loop has it sent in a thread."""

    __slots__ = ("_client", "_operation", "_params")

    def __init__(self, client: Any, operation: str, params: Mapping[str, Any]) -> None:
        self._client = client
        self._operation = operation
        self._params = params

    def block(self) -> Response:
        """Send it in this thread. Raises what boto raises."""
        response: Response = getattr(self._client, self._operation)(**self._params)
        return response

    async def suspend(self) -> Response:
        """Send it in another thread, within this task's deadline. Raises NotStarted, too."""
        response: Response = await _in_thread(self.block)
        return response


class BuiltinRequest(Wait):
    """A request by the built-in client; an event loop needs no thread, unless boto must wait."""

    __slots__ = ("_client", "_clock", "_exclude", "_operation", "_params", "_request", "_table")

    def __init__(
        self,
        client: BuiltinClient,
        operation: str,
        params: Mapping[str, Any],
        exclude: Container[object] = (),
    ) -> None:
        self._client = client
        self._operation = operation
        self._params = params
        self._exclude = exclude
        self._table: str = params.get("TableName") or table_of(params)
        self._request: DynamoDBRequest | None = None  # One, however often it is sent.

    def block(self) -> Response:
        """Send it in this thread. Raises what boto raises, or InvalidResponse."""
        __traceback_hide__ = True
        client = self._client
        state = client.current_state(self._table) or client.wait_for_state(self._table)
        endpoint = state.endpoint
        if endpoint is None:
            return BotoRequest(client.boto, self._operation, self._params).block()
        data = self._sign(state.credentials, endpoint)
        response: Response = endpoint.blocking.send(data, self._parse, self._exclude)
        return response

    async def suspend(self) -> Response:
        """Send it in this event loop. Raises NotStarted, too."""
        __traceback_hide__ = True
        client = self._client
        state: EndpointState | None = client.current_state(self._table)
        if state is None:
            state = await _in_thread(client.wait_for_state, self._table)
        endpoint = state.endpoint
        if endpoint is None:
            return await BotoRequest(client.boto, self._operation, self._params).suspend()
        data = self._sign(state.credentials, endpoint)
        response: Response = await endpoint.asynchronous.send(data, self._parse, self._exclude)
        return response

    def _sign(self, credentials: Any, endpoint: Endpoint) -> bytes:
        __traceback_hide__ = True
        self._clock = current_clock()
        at = int(signing_time(self._clock))
        if self._request is None:
            operation = OPERATIONS[self._operation]
            self._request = DynamoDBRequest(endpoint.target, operation, self._params)
        return self._request.to_bytes(credentials, at)

    def _parse(self, http_response: "HTTPResponse") -> Response:
        __traceback_hide__ = True
        self._clock.observe(http_response.headers.get("date"))
        assert self._request is not None  # noqa: S101 - for the type checker
        response = self._request.parse(http_response)
        response["ResponseMetadata"][CONNECTION] = http_response.connection
        return response


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return await BlockingCall(function, args).suspend()
    except StoreUnavailable as exc:
        raise NotStarted(str(exc)) from exc
