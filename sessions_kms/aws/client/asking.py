"""One attempt at an operation of a table: in a thread it blocks, in an event loop it does not.

A client and what to ask it enter; its answer leaves, or its error: botocore's, or GarbledAnswer.
"""

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sessions_kms.aws.calls import Answer, NotBegun
from sessions_kms.aws.client.has_wire import HasWire
from sessions_kms.aws.clock import signing_time
from sessions_kms.concurrency.waits import BlockingCall, Wait
from sessions_kms.exceptions import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from sessions_kms.aws.client.line import Line, Ready
    from sessions_kms.aws.http1.answer import Answer as HTTPAnswer
    from sessions_kms.aws.transport.kept import Connection
    from sessions_kms.aws.wire.exchange import Exchange

TableClient: TypeAlias = "DynamoDBClient | HasWire"

HOT: Final = {
    "delete_item": "DeleteItem",
    "get_item": "GetItem",
    "put_item": "PutItem",
    "query": "Query",
    "transact_write_items": "TransactWriteItems",
    "update_item": "UpdateItem",
}

CONNECTION: Final = "Connection"  # in an answer's metadata: a member that boto knows nothing of


def connection_of(answer: Answer) -> "Connection | None":
    """Return the connection that an answer came on; None where boto asked."""
    found: Connection | None = answer.get("ResponseMetadata", {}).get(CONNECTION)
    return found


def asking(
    client: TableClient,
    operation: str,
    params: Mapping[str, Any],
    apart_from: Container[object] = (),
) -> Wait:
    """Return what asks a client once, by its wire where it has one for this.

    The wire asks on another connection than those; which one boto takes, nobody can tell it.
    """
    if not isinstance(client, HasWire):
        return BotoAsks(client, operation, params)
    if operation in HOT:
        return WireAsks(client, operation, params, apart_from)
    return BotoAsks(client.boto, operation, params)


def table_of(params: Mapping[str, Any]) -> str:
    """Return the name of the table that is asked about, in a transaction the first one's."""
    if "TransactItems" in params:
        ((params, *_), *_) = (action.values() for action in params["TransactItems"])
    name: str = params["TableName"]
    return name


class BotoAsks(Wait):
    """boto's client asks; an event loop has it do so in a thread."""

    __slots__ = ("_client", "_operation", "_params")

    def __init__(self, client: Any, operation: str, params: Mapping[str, Any]) -> None:
        self._client = client
        self._operation = operation
        self._params = params

    def block(self) -> Answer:
        """Ask here. Raises what boto raises."""
        answer: Answer = getattr(self._client, self._operation)(**self._params)
        return answer

    async def suspend(self) -> Answer:
        """Ask in a thread, which this task's deadline binds. Raises NotBegun, too."""
        answer: Answer = await _in_thread(self.block)
        return answer


class WireAsks(Wait):
    """The wire asks; an event loop needs no thread for it, unless for what boto has yet to find."""

    __slots__ = (
        "_apart_from",
        "_client",
        "_clock",
        "_exchange",
        "_operation",
        "_params",
        "_table",
    )

    def __init__(
        self,
        client: HasWire,
        operation: str,
        params: Mapping[str, Any],
        apart_from: Container[object] = (),
    ) -> None:
        self._client = client
        self._operation = operation
        self._params = params
        self._apart_from = apart_from
        self._table: str = params.get("TableName") or table_of(params)
        self._exchange: Exchange | None = None  # One, however often it is asked.

    def block(self) -> Answer:
        """Ask here. Raises what boto raises, or GarbledAnswer."""
        __traceback_hide__ = True
        ready = self._client.at_hand(self._table) or self._client.ready(self._table)
        if ready.line is None:
            return self._by_boto().block()
        request = self._request(ready.credentials, ready.line)
        answer: Answer = ready.line.blocking.ask(request, self._heard, self._apart_from)
        return answer

    async def suspend(self) -> Answer:
        """Ask in this loop. Raises NotBegun, too."""
        __traceback_hide__ = True
        ready: Ready | None = self._client.at_hand(self._table)
        if ready is None:
            ready = await _in_thread(self._client.ready, self._table)
        if ready.line is None:
            return await self._by_boto().suspend()
        request = self._request(ready.credentials, ready.line)
        answer: Answer = await ready.line.looping.ask(request, self._heard, self._apart_from)
        return answer

    def _by_boto(self) -> BotoAsks:
        return BotoAsks(self._client.boto, self._operation, self._params)

    def _request(self, credentials: Any, line: "Line") -> bytes:
        __traceback_hide__ = True
        if self._exchange is None:
            self._exchange = line.exchange(HOT[self._operation], self._params)
        self._clock = self._client.clock()
        return self._exchange.request(credentials, int(signing_time(self._clock)))

    def _heard(self, answer: "HTTPAnswer") -> Answer:
        __traceback_hide__ = True
        self._clock.hear(answer.headers.get("date"))
        assert self._exchange is not None  # noqa: S101 - for the type checker
        said = self._exchange.answered(answer)
        said["ResponseMetadata"][CONNECTION] = answer.connection
        return said


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return await BlockingCall(function, args).suspend()
    except StoreUnavailable as exc:
        raise NotBegun(str(exc)) from exc
