"""Django's database sessions, as a project has them before it changes to ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import connection
from pytest_django import Settings

ENGINE = "django.contrib.sessions.backends.db"


@contextmanager
def installed(settings: Settings) -> Iterator[None]:
    """Install the app and its table, which the gateway does without."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sessions"]
    from django.contrib.sessions.models import Session

    with connection.schema_editor() as editor:
        editor.create_model(Session)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Session)


def saved(**content: Any) -> str:
    """Store a session in the old engine; return its key."""
    session = DatabaseStore()
    session.update(content)
    session.save()
    return str(session.session_key)


def content(key: str) -> dict[str, Any]:
    """Return what the old engine has under a key, as one of its processes sees it."""
    return dict(DatabaseStore(key).items())
