"""The `-next` cookie: a browser that was not told of a key change brings the new key itself.

A cookie beside the session's, with its attributes, for as long as a tombstone stands. Its
value is the new key and the beginning of the old one's id, its name ends in the beginning of
the new one's id. It counts only beside that old cookie, and only where the old key has a
tombstone: whoever stole or planted the old key learns nothing, and cookies that somebody made up
cost no reads. It is never deleted: the key that it names may yet begin to open.

The outermost middleware keeps the keys of a request here, since others replace
`request.session`, and whatever answer comes back carries the key that the session has by then.
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

# Keys that are tried for one cookie. A page's parallel requests may change one key each while no
# answer comes: one of the changes is made, and any of them may be that one.
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

    ``cookie`` is the key that came with it; ``named`` are the ends of the names and the values of
    its `-next` cookies, as they came.
    ``session`` is the one that has another key than the cookie by now. ``changed`` is a change
    that was made or may be made yet, ``undecided`` which of them.
    """

    cookie: str | None
    named: tuple[tuple[str, str], ...]
    session: SessionBase | None = None
    changed: KeyChange | None = None
    undecided: bool = False

    def following(self, session_key: str, namespace: str) -> list[str]:
        """Return the keys that cookies name for one that has moved."""
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
        """Have an answer carry the present key, unless it carries one, and `-next` where due."""
        __traceback_hide__ = True
        name = settings.SESSION_COOKIE_NAME
        key = self.session.session_key if self.session else None
        if self.session and key and name not in response.cookies:
            _set(response, name, key, _age(self.session))
        change = self.changed
        if change and (self.undecided or self._has_user(change.new_key)):
            value = f"{change.new_key}.{change.old_id}"
            _set(response, f"{name}{INFIX}{change.new_id}", value, TOMBSTONE_LIFETIME)
        return response

    def _has_user(self, session_key: str) -> bool:
        session = self.session
        return (
            session is not None
            and session.session_key == session_key
            and session.get(USER_ID) is not None
        )


_keys: ContextVar[RequestKeys | None] = ContextVar("sessions_kms_keys", default=None)


class _Keeping:
    """Keys that are a request's within a block."""

    def __init__(self, kept: RequestKeys) -> None:
        self._kept = kept

    def __enter__(self) -> RequestKeys:
        self._token = _keys.set(self._kept)
        return self._kept

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # An abandoned coroutine is closed in any context.
            _keys.reset(self._token)


def keys_of(request: HttpRequest) -> AbstractContextManager[RequestKeys]:
    """Keep the keys of a request, within a block, while it is answered."""
    __traceback_hide__ = True
    kept = _kept_of(request.COOKIES)
    # Taken out of it, since Django's error report shows all cookies but the session's.
    for end, _ in kept.named:
        del request.COOKIES[f"{settings.SESSION_COOKIE_NAME}{INFIX}{end}"]
    return _Keeping(kept)


def keys_in(cookies: Mapping[str, str]) -> AbstractContextManager[RequestKeys]:
    """Keep the keys that cookies name, within a block."""
    __traceback_hide__ = True
    return _Keeping(_kept_of(cookies))


def _kept_of(cookies: Mapping[str, str]) -> RequestKeys:
    __traceback_hide__ = True
    name = settings.SESSION_COOKIE_NAME
    prefix = f"{name}{INFIX}"
    named = [
        (each.removeprefix(prefix), value)
        for each, value in cookies.items()
        if each.startswith(prefix)
    ]
    return RequestKeys(cookies.get(name), tuple(named))


# What the engine tells and asks; outside of a request that is nothing.


def keys_for(session_key: str) -> RequestKeys | None:
    """Return the request's keys, if this is the key of its own session."""
    __traceback_hide__ = True
    kept = _keys.get()
    return kept if kept and kept.concerns(session_key) else None


def has_next(session_key: str, namespace: str) -> bool:
    """Return True if the request's cookies name a key that follows its own one."""
    __traceback_hide__ = True
    kept = keys_for(session_key)
    return kept is not None and bool(kept.following(session_key, namespace))


def note_new_key(session: SessionBase) -> None:
    """Note that the request's session has another key than its cookie."""
    if kept := _keys.get():
        kept.session = session


def note_writer(session: SessionBase) -> None:
    """Note which object has the session by now: allauth replaces the request's."""
    if (kept := _keys.get()) and kept.session and kept.session.session_key == session.session_key:
        kept.session = session


def note_possible_change(old: str, new: str, namespace: str) -> None:
    """Note a key change of unknown fate."""
    __traceback_hide__ = True
    if kept := _keys.get():
        kept.changed, kept.undecided = KeyChange.between(old, new, namespace), True


def note_changed(session: SessionBase) -> None:
    """Note that the key change that was noted last was made, and who has the new key."""
    if kept := _keys.get():
        kept.session, kept.undecided = session, False


def note_not_changed() -> None:
    """Note that a key change was not made, and never will be."""
    if (kept := _keys.get()) and kept.undecided:
        kept.changed, kept.undecided = None, False


def _short_id(session_key: str, namespace: str) -> str:
    __traceback_hide__ = True
    return session_id(namespace, session_key)[:SHORT_ID]


def _age(session: SessionBase) -> int | None:
    """Return what Django would make the cookie's age; None for until the browser is closed."""
    if not hasattr(session, "_session_cache") or session.get_expire_at_browser_close():
        return None
    return session.get_expiry_age()


def _set(response: HttpResponseBase, name: str, value: str, max_age: int | None) -> None:
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
