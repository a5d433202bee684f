"""The test kit's DynamoDB in memory, whose calls are listed and fail as a test wants.

`test_memory_dynamodb.py` compares it with moto.
"""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from sessions_kms.aws.table_client import CONNECTION
from sessions_kms.format.attributes import Item
from sessions_kms.testing import dynamodb
from sessions_kms.testing.dynamodb import Handle, Response, error
from tests.sessions_kms.support.wire import Fault, Wire


class Connection:
    """A connection that gave one response."""

    def distrust(self) -> None:
        """Do nothing: it gives no other."""


class MemoryDynamoDB(dynamodb.MemoryDynamoDB):
    """One table; ``items`` is what a dump would show. Each call goes over the wire, and is
    listed in ``calls`` with the kinds of item that it names ("PutItem session").

    ``returns_old`` off is an engine that does not give the item of a failed condition;
    ``unavailable`` has it refuse all calls. With ``has_connections`` each response says that it
    came on a connection of its own, as those of the built-in client do: so it is confirmed where
    those are.
    """

    def __init__(self, wire: Wire | None = None, *, returns_old: bool = True) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.wire = wire or Wire()
        self.returns_old = returns_old
        self.unavailable = False
        self.has_connections = False
        self._rules: dict[str, Fault] = {}
        self._index: dict[str, Item] | None = None

    def on(self, call: str, fault: Fault) -> None:
        """Let a fault strike a call, named as it is listed, from now on: `heal` ends it."""
        self._rules[call] = fault

    def heal(self) -> None:
        """Let no fault strike any more."""
        self._rules.clear()
        self.unavailable = False

    def stop_index(self) -> None:
        """Let the index show what is there now, until it catches up."""
        self._index = dict(self.items)

    def catch_up(self) -> None:
        """Let the index show what is there, from now on."""
        self._index = None

    def _indexed(self) -> dict[str, Item]:
        return self.items if self._index is None else self._index

    def _send(self, operation: str, ids: list[str], handle: Handle) -> Response:
        call = " ".join([operation, *map(kind_of, ids)])
        self.calls.append(call)
        if self.unavailable:
            raise refusal(operation)
        fault = self._rules.get(call, pass_unharmed)
        response: Response = fault(lambda: self.wire.send(operation, lambda: self._handle(handle)))
        if self.has_connections and isinstance(response, dict):
            response = response | {"ResponseMetadata": {CONNECTION: Connection()}}
        return response


def kind_of(item_id: str) -> str:
    """Return what kind of item an id, or an owner, is of: the first word of it."""
    return item_id.partition("#")[0] if "#" in item_id else "session"


def pass_unharmed(handle: Handle) -> Any:
    """No fault: the call is handled."""
    return handle()


def after(do: Callable[[], object]) -> Fault:
    """Have something done just before a call is handled."""

    def done_first(handle: Handle) -> Any:
        do()
        return handle()

    return done_first


def refuse_write(_: Handle) -> Any:
    """The call is refused: it is not handled, and not sent again."""
    raise refusal("any")


def refusal(operation: str) -> ClientError:
    """Return the error of a call that was not handled and is not to be sent again."""
    return error(operation, "ValidationException", status=400)
