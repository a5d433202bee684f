"""The probes of what this process depends on: migrations, SQL, the session table, the KMS key."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from gateway_site.health.probes import DatabaseRejectedError, ReportedError, SharedProbe
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.hints import command
from sessions_kms.services import services

logger = logging.getLogger(__name__)

MIGRATIONS: Final = "migrations"
# Of https://www.postgresql.org/docs/current/errcodes-appendix.html: invalid authorization, invalid
# catalog name; insufficient privilege.
REJECTED_CLASSES: Final = frozenset({"28", "3D"})
REJECTED_STATES: Final = frozenset({"42501"})
CONNECTING_MAX: Final = 3.0  # seconds to find out why no connection was made


class NotMigratedError(ReportedError):
    """The database lacks migrations of this release."""


class MigrationsProbe:
    """A probe that fails while migrations are missing, and checks until none is."""

    def __init__(self) -> None:
        self._are_applied = False
        self._is_reported = False

    def __call__(self) -> None:
        """Raise NotMigratedError. An unavailable database is no reason."""
        if not self._are_applied:
            try:
                missing = _missing_migrations()
            except (DatabaseError, InterfaceError):
                return
            if missing:
                if not self._is_reported:
                    self._is_reported = True
                    logger.error(
                        "The database lacks migrations of this release: run `%s`. Until then,"
                        " this process is not ready, and pages may fail.", command("migrate"),
                    )  # fmt: skip
                raise NotMigratedError
            self._are_applied = True


def _missing_migrations() -> bool:
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        connection.close()


def query_database() -> None:
    """Read a table once. Raises DatabaseRejectedError, or Django's error."""
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        with connection.cursor() as cursor:
            if "django_migrations" in connection.introspection.table_names(cursor):
                cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    except DatabaseError as error:
        state, message = _explain(connection, error)
        if state in REJECTED_STATES or state[:2] in REJECTED_CLASSES:
            # Without the chain: it may end with the pool's timeout, which says nothing.
            raise DatabaseRejectedError(f"{message} (SQLSTATE {state})") from None
        raise
    finally:
        connection.close()


def _explain(connection: BaseDatabaseWrapper, error: DatabaseError) -> tuple[str, str]:
    """Return the SQLSTATE of an error, "" if there is none, and the message."""
    if state := getattr(error.__cause__, "sqlstate", None):
        return state, str(error).strip()
    if connection.vendor != "postgresql":
        return "", ""
    from gateway_site.environment import postgresql  # noqa: PLC0415 - it loads the driver

    found = postgresql.explain_failure(connection.get_connection_params(), CONNECTING_MAX)
    return found or ("", "")


def use_data_key() -> None:
    """Get a data key to seal with. Raises StoreUnavailable."""
    try:
        services().probe_data_key()
    except TableUnavailable:
        raise TableUnavailable from None  # not KMS's rejection; the table's own probe has it


SHARED_CHECKS: Mapping[str, Callable[[], None]] = {
    "sql": query_database,
    "table": lambda: services().probe_table(),
    "kms": use_data_key,
}


@cache
def migrations_probe() -> SharedProbe:
    """Return this process's probe of the migrations."""
    return SharedProbe(MIGRATIONS, MigrationsProbe())


@cache
def shared_probes() -> Mapping[str, SharedProbe]:
    """Return this process's probes of shared services, by name."""
    return {name: SharedProbe(name, probe) for name, probe in SHARED_CHECKS.items()}


for _cached in (migrations_probe, shared_probes):
    os.register_at_fork(after_in_child=_cached.cache_clear)  # their threads are the parent's
