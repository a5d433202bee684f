"""From a known error to a sentence with a remedy, which a command prints in place of a traceback.

Known are errors of the configuration, of the SQL database, of AWS, and of files. Any other is a
fault of the program: its traceback is needed.
"""

import errno
import socket
import sqlite3
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    ProgrammingError,
    connections,
)
from django.db.migrations.exceptions import MigrationSchemaMissing

from sessions_kms.concurrency.deadline import OutOfTime
from sessions_kms.doctor.trouble import find_remedy, hide_credentials
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.hints import command

# https://www.postgresql.org/docs/current/errcodes-appendix.html: no such table, column, schema
UNMIGRATED_STATES = frozenset({"42P01", "42703", "3F000"})
UNMIGRATED_SQLITE = ("no such table", "no such column")
# https://www.postgresql.org/docs/current/errcodes-appendix.html: insufficient privilege
REJECTED_STATES = frozenset({"42501"})
QUESTION = "\n\tIs the server running"  # of libpq, in English; the remedy says it too
# Faults of a query or of its data, which are the program's.
FAULTS = (DataError, IntegrityError, InternalError, NotSupportedError, ProgrammingError)
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# What the operator can do about a file, by the error of the system.
FILE_REMEDIES = {
    errno.EACCES: "Let the user of this process use it, or name another.",
    errno.EPERM: "Let the user of this process use it, or name another.",
    errno.EROFS: "Name a folder that can be written.",
    errno.ENOENT: "Create it, or name another.",
    errno.ENOTDIR: "Name another: a part of its path is a file.",
    errno.EISDIR: "Name a file: this is a folder.",
    errno.ENOSPC: "Free space on that disk.",
    errno.EDQUOT: "Free space on that disk.",
}


def explain(error: Exception) -> str | None:
    """Return what is wrong and what to do, in one line; None if the error is not a known one."""
    found = _explain(error)
    return found and hide_credentials(" ".join(found.split()))


def _explain(error: Exception) -> str | None:
    if isinstance(error, CommandError | ImproperlyConfigured):
        return str(error)
    if isinstance(error, StoreUnavailable):
        return with_cause(error)
    if isinstance(error, DatabaseError | InterfaceError):
        return _explain_database(error)
    if isinstance(error, OutOfTime) or type(error).__module__.startswith("botocore."):
        return _with_remedy(f"AWS call failed: {_end(str(error))}", error)
    return _explain_system(error) if isinstance(error, OSError) else None


def _end(text: str) -> str:
    """Return a text that ends like a sentence."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def with_cause(error: StoreUnavailable) -> str:
    """Return the message with that of AWS, since ours say little by design, and a remedy."""
    cause = error.__cause__
    if not isinstance(cause, Exception):
        return str(error)
    return _with_remedy(f"{error} ({cause})" if str(cause) else str(error), cause)


def _with_remedy(sentence: str, cause: Exception) -> str:
    return f"{sentence} {find_remedy(cause)}".rstrip()


def _explain_database(error: Exception) -> str | None:
    if isinstance(error, MigrationSchemaMissing) and isinstance(error.__context__, DatabaseError):
        error = error.__context__
    what = str(error).partition("\n")[0]
    if _is_unmigrated(error):
        return f"The database lacks a table or a column ({what}): run `{command('migrate')}`."
    if getattr(error.__cause__, "sqlstate", None) in REJECTED_STATES:
        return f"The database rejects its user: {what}. Grant this user the right."
    return None if isinstance(error, FAULTS) else _explain_unusable(error)


def _explain_unusable(error: Exception) -> str:
    settings = connections["default"].settings_dict
    if isinstance(error.__cause__, sqlite3.Error):
        file = settings["NAME"]
        if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in BUSY:
            return f"Another process holds {file} ({error}): end it, or try again later."
        return (
            f"The database file {file} cannot be used: {error}. Create its folder, and let the user"
            " of this process write to both; or correct DATABASES (the gateway: DATABASE_URL)."
        )
    return (
        f"The database cannot be used: {_end(_find_cause(error))} Check that its server runs and"
        " can be reached from here, and DATABASES (the gateway: DATABASE_URL)."
    )


def _is_unmigrated(error: Exception) -> bool:
    if isinstance(error.__cause__, sqlite3.Error):
        return str(error).startswith(UNMIGRATED_SQLITE)
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, ProgrammingError) and state in UNMIGRATED_STATES


def _find_cause(error: Exception) -> str:
    """Return the driver's message. That of a pool says only that it gave up: connect once more."""
    found: Exception = error
    if type(error.__cause__).__name__ == "PoolTimeout":
        connection: Any = connections["default"]
        try:
            connection.Database.connect(**connection.get_connection_params()).close()
        except connection.Database.Error as cause:
            found = cause
    return str(found).partition(QUESTION)[0].strip()


def _explain_system(error: OSError) -> str | None:
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return (
            f"A server that this command needs cannot be reached: {error.strerror or error}. Check"
            " the network; --traceback shows which server it is."
        )
    if error.filename is None or error.errno is None:
        return None
    remedy = FILE_REMEDIES.get(error.errno)
    return remedy and f"{error.filename} cannot be used: {error.strerror}. {remedy}"
