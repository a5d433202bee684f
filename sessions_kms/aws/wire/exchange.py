"""One operation of DynamoDB at an endpoint: the bytes to ask by, and what the answer says.

Parameters and answers are those of boto's client. Knows no socket, and no way to wait.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

from sessions_kms.aws.http1.answer import Answer
from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.http1.request import opening, post
from sessions_kms.aws.wire import answer_json, request_json
from sessions_kms.aws.wire.shapes import REQUESTS
from sessions_kms.aws.wire.sigv4 import Credentials, Signer, Signing

SERVICE: Final = "dynamodb"
TRANSACTION: Final = "TransactWriteItems"
TOKEN: Final = "ClientRequestToken"  # noqa: S105 - the name of a parameter
CAPACITY: Final = "ReturnConsumedCapacity"
NOTHING: Final = frozenset({"ResponseMetadata"})
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
        said = answer_json.read(self._operation, answer)
        # Not even what was asked for of every answer is there, or it tells of another item.
        if said.keys() <= NOTHING and CAPACITY in self._params:
            raise GarbledAnswer
        item: Mapping[str, Any] | None = said.get("Item")
        if item is not None and not self._params["Key"].items() <= item.items():
            raise GarbledAnswer
        return said
