"""Sessions of the engine in the settings."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase


def open_session(key: str | None = None) -> SessionBase:
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    return store(key)


def make_session(**content: Any) -> str:
    """Store a session; return its key."""
    session = open_session()
    session.update(content)
    session.save()
    assert session.session_key is not None
    return session.session_key


def content_of(key: str) -> dict[str, Any]:
    return dict(open_session(key).items())
