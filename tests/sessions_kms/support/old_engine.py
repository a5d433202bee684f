"""Django's database sessions, as in a project before it changes to our engine."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from tests.support.clock import FakeClock

ENGINE = "django.contrib.sessions.backends.db"


@contextmanager
def installed(settings: Settings) -> Iterator[None]:
    """Install the app and its table, which the gateway does not use.

    Both are removed before the database is flushed: Django would then create the app's permissions,
    one of which has the same name as one of ours.
    """
    apps = settings.INSTALLED_APPS
    settings.INSTALLED_APPS = [*apps, "django.contrib.sessions"]
    from django.contrib.sessions.models import Session

    with connection.schema_editor() as editor:
        editor.create_model(Session)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Session)
        settings.INSTALLED_APPS = apps


@pytest.fixture(name="old")
def in_use(settings: Settings, clock: FakeClock, transactional_db: None) -> Iterator[None]:
    """Give the project that engine's table. A test module imports this fixture by assignment."""
    clock.now = float(int(time.time()))  # Django's rows expire by the machine's clock.
    with installed(settings):
        yield


def save_content(**content: Any) -> str:
    """Store a session in the old engine; return its key."""
    session = DatabaseStore()
    session.update(content)
    session.save()
    return str(session.session_key)


def import_sessions(*arguments: str) -> tuple[dict[str, Any], int]:
    """Run the command; return what it printed as JSON, and its exit status."""
    out, status = StringIO(), 0
    try:
        call_command("import_sessions", "--json", "--no-input", *arguments, stdout=out)
    except SystemExit as exc:
        status = int(exc.code or 0)
    return json.loads(out.getvalue()), status


def content(key: str) -> dict[str, Any]:
    """Return the session of a key in the old engine, as its processes load it."""
    return dict(DatabaseStore(key).items())


def empty() -> None:
    """Delete all rows, the last step of the change."""
    from django.contrib.sessions.models import Session

    Session.objects.all().delete()


def is_there(key: str) -> bool:
    """Return True if this key has a row, live or not."""
    return DatabaseStore().exists(key)
