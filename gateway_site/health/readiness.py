"""Whether this process should be sent requests: by what is its own, not by what all share.

An outage of the database, the table or KMS would make every process not ready at once, and
the load balancer would have nobody left to send anything to; visitors are told 503 by the
processes instead, and those who need nothing of it are served.
"""

from __future__ import annotations

import threading

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

draining = threading.Event()  # set when this process is about to end


class NotMigratedError(Exception):
    """The database lacks what this release needs."""


class Migrations:
    """A probe that fails while migrations are known to be missing, and asks until none is."""

    def __init__(self) -> None:
        self._are_applied = False

    def __call__(self) -> None:
        """Raise NotMigratedError. A database that cannot be asked is no reason."""
        if not self._are_applied:
            try:
                missing = _missing()
            except DatabaseError:
                return
            if missing:
                raise NotMigratedError
            self._are_applied = True


def _missing() -> bool:
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        connection.close()
