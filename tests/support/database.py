"""The tests' database in memory, restored as it was made."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from unittest.mock import patch

from django.db import connection
from django.test import TransactionTestCase


def copy_of_database() -> sqlite3.Connection:
    """Return a copy of the database as it is now."""
    connection.ensure_connection()
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    connection.connection.backup(copy)
    return copy


@contextmanager
def restored_from(copy: sqlite3.Connection) -> Iterator[None]:
    """Restore the database after each test that commits.

    Django would flush it, and create all content types and permissions again: 25 ms a test.
    """

    from django.contrib.contenttypes.models import ContentType  # not before the apps are ready

    def restore(_: TransactionTestCase) -> None:
        connection.ensure_connection()
        copy.backup(connection.connection)
        ContentType.objects.clear_cache()

    with closing(copy), patch.object(TransactionTestCase, "_fixture_teardown", restore):
        yield
