"""One operation of DynamoDB at an endpoint: the bytes to ask by, and what the answer says.

Parameters and answers are those of boto's client. Knows no socket, and no way to wait.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, NamedTuple, NoReturn

from sessions_kms.aws.http1.answer import Answer
from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.http1.request import opening, post
from sessions_kms.aws.wire import answer_json, request_json
from sessions_kms.aws.wire.shapes import DETAILS, REQUESTS
from sessions_kms.aws.wire.sigv4 import Credentials, Signer, Signing

SERVICE: Final = "dynamodb"
TRANSACTION: Final = "TransactWriteItems"
TOKEN: Final = "ClientRequestToken"  # noqa: S105 - the name of a parameter
CAPACITY: Final = "ReturnConsumedCapacity"
TOTAL: Final = "TOTAL"
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


class _Head(NamedTuple):
    """What the requests for one operation in one second have in common, and whose they are."""

    credentials: Credentials
    at: int
    opening: str
    signing: Signing

    def __repr__(self) -> str:
        return "_Head()"


@dataclass(frozen=True)
class Target:
    """Where a table is asked, in which Region a signature counts there, and as which client."""

    endpoint: Endpoint
    region: str
    user_agent: str

    # Of the last request of each operation.
    heads: dict[str, _Head] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def _signer(self) -> Signer:
        return Signer(self.region, SERVICE)

    def head(self, operation: str, credentials: Credentials, at: int) -> _Head:
        """Return what the requests for an operation in a second have in common, and keep it.

        Raises ValueError.
        """
        __traceback_hide__ = True
        host, headers = self.endpoint.authority, HEADERS[operation]
        moment = datetime.fromtimestamp(at, UTC)
        signing = self._signer.signing({"Host": host, **headers}, credentials, moment)
        unsigned = {"User-Agent": self.user_agent, "Accept-Encoding": "identity"}
        opened = opening(host, {**headers, **unsigned, **signing.headers}.items())
        made = self.heads[operation] = _Head(credentials, at, opened, signing)
        return made


class Exchange:
    """An operation and its parameters, which may be asked more than once: it stays the same one."""

    __slots__ = ("_operation", "_params", "_target", "body")

    def __init__(self, target: Target, operation: str, params: Mapping[str, Any]) -> None:
        """Write the body. Raises TypeError, naming the parameter that is at fault."""
        __traceback_hide__ = True
        self._target = target
        self._operation = operation
        self._params = params
        if operation == TRANSACTION and TOKEN not in params:
            # As boto does: asked again by the same body, it is applied once.
            params = {**params, TOKEN: str(uuid.uuid4())}
        self.body = request_json.body_of(operation, params)

    def request(self, credentials: Credentials, at: int) -> bytes:
        """Return the request, signed at an epoch second. Raises ValueError.

        What it has in common with the last one of the operation, if that is of the same second,
        is used again.
        """
        __traceback_hide__ = True
        head = self._target.heads.get(self._operation)
        if head is None or head.at != at or head.credentials is not credentials:
            head = self._target.head(self._operation, credentials, at)
        return post(head.opening, head.signing.signature(self.body), self.body)

    def answered(self, answer: Answer) -> dict[str, Any]:
        """Return what an answer says.

        Raises botocore's ClientError, or GarbledAnswer, also for what answers another request.
        """
        __traceback_hide__ = True
        if answer.status != answer_json.OK:
            self._fail(answer)
        said = answer_json.read(self._operation, answer)
        if self._is_answered_by(said):
            return said
        raise GarbledAnswer

    def _is_answered_by(self, said: Mapping[str, Any]) -> bool:
        """Tell whether nothing that an answer says shows that it answers another request."""
        params = self._params
        asked, told = params.get(CAPACITY), said.get("ConsumedCapacity")
        if told is not None:
            if asked is None or not self._is_of_tables(told, detailed=asked != TOTAL):
                return False
        elif asked is not None and said.keys() <= NOTHING:
            return False
        if (item := said.get("Item")) is not None:
            return bool(params["Key"].items() <= item.items())
        if "Attributes" in said:
            return bool(params.get("ReturnValues", "NONE") != "NONE")
        return self._operation != QUERY or asked is None or "Items" in said

    def _is_of_tables(self, capacity: Any, *, detailed: bool) -> bool:
        """Tell whether this is the capacity of what was asked about, told as it was asked for."""
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

    def _fail(self, answer: Answer) -> NoReturn:
        """Raise the error that an answer tells, if this request can have it."""
        __traceback_hide__ = True
        from botocore.exceptions import ClientError

        try:
            answer_json.read(self._operation, answer)
        except ClientError as exc:
            if self._may_fail_by(exc.response["Error"]["Code"]):
                raise
        raise GarbledAnswer  # Outside the handler: its error holds the body.

    def _may_fail_by(self, code: str) -> bool:
        if code == CONDITION_FAILED:
            return "ConditionExpression" in self._params
        return code not in OF_TRANSACTIONS or self._operation == TRANSACTION
