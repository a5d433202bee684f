"""The `-next` cookie: a browser that missed the response to a key change sends the new key itself.

It has the attributes of the session cookie, and the lifetime of a tombstone. Its
value is the new key and the beginning of the old one's id, its name ends in the beginning of
the new one's id. It counts only together with that old cookie, and only if the old key has a
tombstone: stealing or planting the old key reveals nothing, and forged cookies cost no reads. It
is never deleted: the key that it names may become valid later.

The outermost middleware stores the keys of a request here, since others replace
`request.session`. Every response then carries the current key of the session.
"""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from sessions_kms.format.item_types import SHORT_ID, session_id
from sessions_kms.format.record import TOMBSTONE_LIFETIME

# Keys that are tried for one cookie. Parallel requests of a page may each change the key before
# any response arrives: one of the changes is applied, and it may be any of them.
TRIED_MAX = 16
INFIX = "-next-"
VALUE = re.compile(rf"([a-z0-9]{{32}})\.([A-Za-z0-9_-]{{{SHORT_ID}}})")


@dataclass(eq=False, repr=False)
class KeyChange:
    """A key that follows another. ``old_id`` and ``new_id`` are the beginnings of their ids."""

    old_id: str
    new_key: str
    new_id: str

    @classmethod
    def between(cls, old: str, new: str, namespace: str) -> "KeyChange":
        """Return the change of one key to another."""
        __traceback_hide__ = True
        return cls(_short_id(old, namespace), new, _short_id(new, namespace))


@dataclass(eq=False, repr=False)
class RequestKeys:
    """The session keys of one request.

    ``cookie`` is the key in the session cookie; ``named`` has the suffixes and values of the
    `-next` cookies, unchecked. ``session`` is set if its key differs from the cookie by now.
    ``changed`` is a key change that was applied or, if ``undecided``, may still be applied.
    """

    cookie: str | None
    named: tuple[tuple[str, str], ...]
    session: SessionBase | None = None
    changed: KeyChange | None = None
    undecided: bool = False

    def following(self, session_key: str, namespace: str) -> list[str]:
        """Return the new keys that `-next` cookies name for an old one."""
        __traceback_hide__ = True
        if not self.named:
            return []
        old = _short_id(session_key, namespace)
        found = [(end, VALUE.fullmatch(value)) for end, value in self.named]
        return [
            match[1]
            for end, match in found
            if match and match[2] == old and end == _short_id(match[1], namespace)
        ]

    def concerns(self, session_key: str) -> bool:
        """Return True if this is the key of the request's own session."""
        __traceback_hide__ = True
        settled = self.session.session_key if self.session else None
        return session_key in {self.cookie, settled}

    def set_cookies(self, response: HttpResponseBase) -> HttpResponseBase:
        """Add the current key to a response that has none, and the `-next` cookie if needed."""
        __traceback_hide__ = True
        name = settings.SESSION_COOKIE_NAME
        key = self.session.session_key if self.session else None
        if self.session and key and name not in response.cookies:
            _set_cookie(response, name, key, _get_cookie_age(self.session))
        change = self.changed
        if change and (self.undecided or self._has_user(change.new_key)):
            value = f"{change.new_key}.{change.old_id}"
            _set_cookie(response, f"{name}{INFIX}{change.new_id}", value, TOMBSTONE_LIFETIME)
        return response

    def _has_user(self, session_key: str) -> bool:
        session = self.session
        return (
            session is not None
            and session.session_key == session_key
            and session.get(USER_ID) is not None
        )


_keys: ContextVar[RequestKeys | None] = ContextVar("sessions_kms_keys", default=None)


class _KeysInBlock:
    """Makes keys those of the current request within a block."""

    def __init__(self, keys: RequestKeys) -> None:
        self._keys = keys

    def __enter__(self) -> RequestKeys:
        self._token = _keys.set(self._keys)
        return self._keys

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # An abandoned coroutine is closed in any context.
            _keys.reset(self._token)


def keys_of(request: HttpRequest) -> AbstractContextManager[RequestKeys]:
    """Store the keys of a request within a block, while it is answered."""
    __traceback_hide__ = True
    keys = _read_keys(request.COOKIES)
    # Removed, since Django's error report shows all cookies except the session's.
    for end, _ in keys.named:
        del request.COOKIES[f"{settings.SESSION_COOKIE_NAME}{INFIX}{end}"]
    return _KeysInBlock(keys)


def keys_in(cookies: Mapping[str, str]) -> AbstractContextManager[RequestKeys]:
    """Store the keys in these cookies within a block."""
    __traceback_hide__ = True
    return _KeysInBlock(_read_keys(cookies))


def _read_keys(cookies: Mapping[str, str]) -> RequestKeys:
    __traceback_hide__ = True
    name = settings.SESSION_COOKIE_NAME
    prefix = f"{name}{INFIX}"
    named = [
        (each.removeprefix(prefix), value)
        for each, value in cookies.items()
        if each.startswith(prefix)
    ]
    return RequestKeys(cookies.get(name), tuple(named))


# Functions for the engine; outside of requests they do nothing.


def keys_for(session_key: str) -> RequestKeys | None:
    """Return the request's keys, if this is the key of its own session."""
    __traceback_hide__ = True
    keys = _keys.get()
    return keys if keys and keys.concerns(session_key) else None


def has_next(session_key: str, namespace: str) -> bool:
    """Return True if the request's cookies name a new key for this one."""
    __traceback_hide__ = True
    keys = keys_for(session_key)
    return keys is not None and bool(keys.following(session_key, namespace))


def note_new_key(session: SessionBase) -> None:
    """Note that the request's session has another key than its cookie."""
    if keys := _keys.get():
        keys.session = session


def note_writer(session: SessionBase) -> None:
    """Note the current object of the session: allauth replaces `request.session`."""
    if (keys := _keys.get()) and keys.session and keys.session.session_key == session.session_key:
        keys.session = session


def note_possible_change(old: str, new: str, namespace: str) -> None:
    """Note a key change whose outcome is unknown."""
    __traceback_hide__ = True
    if keys := _keys.get():
        keys.changed, keys.undecided = KeyChange.between(old, new, namespace), True


def note_changed(session: SessionBase) -> None:
    """Note that the last key change was applied, and the session with the new key."""
    if keys := _keys.get():
        keys.session, keys.undecided = session, False


def note_not_changed() -> None:
    """Note that a key change was not applied, and never will be."""
    if (keys := _keys.get()) and keys.undecided:
        keys.changed, keys.undecided = None, False


def _short_id(session_key: str, namespace: str) -> str:
    __traceback_hide__ = True
    return session_id(namespace, session_key)[:SHORT_ID]


def _get_cookie_age(session: SessionBase) -> int | None:
    """Return the cookie's age as Django sets it; None if it ends with the browser session."""
    if not hasattr(session, "_session_cache") or session.get_expire_at_browser_close():
        return None
    return session.get_expiry_age()


def _set_cookie(response: HttpResponseBase, name: str, value: str, max_age: int | None) -> None:
    __traceback_hide__ = True
    same_site: Any = settings.SESSION_COOKIE_SAMESITE  # text, to Django's stubs
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=same_site,
    )
    patch_vary_headers(response, ("Cookie",))
