"""Saving and loading sessions of the engine in tests."""

from typing import Any

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.backend import SessionStore
from sessions_kms.format.item_types import session_id
from sessions_kms.services import services
from tests.sessions_kms.support.stacks import Stack


def save_session(user: str | None = None, /, **content: Any) -> SessionStore:
    """Save a new session of a signed-in user, or an anonymous one."""
    session = SessionStore()
    session.update(content | ({} if user is None else {USER_ID: user}))
    session.save()
    return session


async def asave_session(**content: Any) -> SessionStore:
    session = SessionStore()
    await session.aupdate(content)
    await session.asave()
    return session


def saved_key(user: str | None = None, /, **content: Any) -> str:
    """Save a new session; return its key."""
    return str(save_session(user, **content).session_key)


def saved_id(user: str | None = None, /, **content: Any) -> str:
    """Save a new session; return the id of its record."""
    return id_of_record(save_session(user, **content))


def id_of_record(session: SessionStore) -> str:
    return session_id(services().config.namespace, session.session_key or "")


def again(session: SessionStore) -> SessionStore:
    """Return the session as the next request gets it."""
    return SessionStore(session.session_key)


def stored_item(session: SessionStore | str | None) -> dict[str, Any]:
    """Return the content of a session, or of a key, for the next request."""
    return dict(SessionStore(_key(session)).items())


def save_changes(session: SessionStore | str | None, **changes: Any) -> SessionStore:
    """Change a session, or that of a key, in another request; return it as that request has it."""
    other = SessionStore(_key(session))
    other.update(changes)
    other.save()
    return other


def _key(session: SessionStore | str | None) -> str | None:
    return session.session_key if isinstance(session, SessionStore) else session


def is_alive(session: SessionStore) -> bool:
    return SessionStore().exists(session.session_key or "")


def link_items(stack: Stack) -> set[str]:
    """Return the ids of the link items."""
    return {name for name in stack.items() if name.startswith("logout#")}


def open_again(session: SessionStore) -> SessionStore:
    """Give the same session as another request loads it."""
    other = SessionStore(session.session_key)
    other.get("anything")
    return other
