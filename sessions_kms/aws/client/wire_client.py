"""A client of the hot operations of DynamoDB: what boto decides, and connections of our own.

Who asks, and of which table, enters; where that goes leaves, with the credentials to sign by.
"""

import os
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sessions_kms.aws.client.has_wire import HasWire
from sessions_kms.aws.client.line import Line, Ready
from sessions_kms.aws.client.targets import target_of, tell_targets
from sessions_kms.aws.clock import ServerClock
from sessions_kms.aws.role_credentials import FetchedCredentials

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class WireClient(HasWire):
    """boto's client, and beside it the wire for the operations that it can do."""

    def __init__(
        self,
        boto: "DynamoDBClient",
        credentials: FetchedCredentials,
        clock: Callable[[], ServerClock],
        authorities: str = "",
    ) -> None:
        """Have boto's client tell where it would send, and the connections end with this one."""
        self.boto = boto
        self.credentials = credentials
        self.clock = clock
        self.authorities = authorities
        self._lines: dict[tuple[str | None, str], Line | None] = {}
        self._last: dict[str, Ready] = {}  # of each table
        tell_targets(boto)
        weakref.finalize(self, _close, self._lines, os.getpid())

    def at_hand(self, table: str) -> Ready | None:
        credentials = self.credentials.at_hand()
        if credentials is None:
            return None
        last = self._last.get(table)
        if last is not None and last.credentials is credentials:
            return last
        where = (_account(credentials), table)
        return self._ready(credentials, where) if where in self._lines else None

    def ready(self, table: str) -> Ready:
        credentials = self.credentials.get_frozen_credentials()
        where = (_account(credentials), table)
        if where not in self._lines:
            target = target_of(self.boto, table)
            made = None if target is None else Line(target, self.authorities)
            self._lines.setdefault(where, made)  # Another thread may have been first.
        return self._ready(credentials, where)

    def _ready(self, credentials: Any, where: tuple[str | None, str]) -> Ready:
        made = self._last[where[1]] = Ready(credentials, self._lines[where])
        return made


def _close(lines: Mapping[Any, Line | None], process: int) -> None:
    """Close the connections that nobody uses; those of a forked process are its parent's."""
    if os.getpid() == process:
        for line in lines.values():
            if line is not None:
                line.blocking.close()


def _account(credentials: Any) -> str | None:
    """Return the account that credentials are of, where they tell: it may be part of a host."""
    account: str | None = getattr(credentials, "account_id", None)
    return account
