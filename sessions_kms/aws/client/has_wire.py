"""What the wire needs, as who asks by it knows it; what makes it imports boto."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sessions_kms.aws.clock import ServerClock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from sessions_kms.aws.client.line import Ready


class HasWire:
    """boto's client, and what is needed to ask without it."""

    boto: "DynamoDBClient"
    clock: Callable[[], ServerClock]

    def at_hand(self, table: str) -> "Ready | None":
        """Return what is there without waiting; None where something is to be waited for."""
        raise NotImplementedError

    def ready(self, table: str) -> "Ready":
        """Return what a request of a table needs. Raises OutOfTime, or what boto raises."""
        raise NotImplementedError
