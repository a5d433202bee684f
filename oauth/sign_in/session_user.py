"""The user of a session, where processes with different keys share sessions.

Django stores an HMAC of the person's password in the session, made with `SECRET_KEY`, and flushes a
session whose HMAC it cannot verify, because the password was changed. Another cause is that another
process made it with a key that this process does not have yet, or no longer has. To distinguish the
two, a digest of the password without a key is stored beside the HMAC. While that matches the
current password, the request is treated as signed out, and the session is not changed.
The middleware of `authentication` replaces Django's.

An HMAC made with a former key is replaced under the same session key. Django would change the
session key as well, and a browser that misses that response is signed out. The new session key adds
no security here: nobody can compute one from `SECRET_KEY`.
https://docs.djangoproject.com/en/stable/topics/auth/default/#session-invalidation-on-password-change
"""

import hashlib
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, cast

from django.contrib import auth
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from sessions_kms.outages import OncePerMinute

logger = logging.getLogger(__name__)
once_per_minute = OncePerMinute()
logger.addFilter(once_per_minute)

# In the session: the digest of the password, and when the hash was made.
DIGEST: Final = "_auth_password_digest"
IS_BEHIND: Final = "_oauth_is_behind"  # the request's attribute
ROLLOUT_MAX: Final = 3600  # seconds after which all processes should have the same keys
CLOCK_SKEW: Final = 300  # seconds

clock: Callable[[], float] = time.time
started_at = clock()  # of this process


class Unverified(Exception):
    """Django would flush the session."""


class _GuardedSession:
    """A session for `auth.get_user` that keeps its key and is not flushed: it raises Unverified.

    A hash that a process with another key has just made is not rewritten: the two processes would
    rewrite each other's hashes at every request.
    """

    def __init__(self, session: SessionBase) -> None:
        self._session = session
        self._keeps_hash = _is_new(session)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not self._keeps_hash:
            self._session[key] = value

    def cycle_key(self) -> None:
        """Do nothing: the hash is rewritten under the same session key."""

    def flush(self) -> None:
        """Raise Unverified."""
        raise Unverified


def get_user(request: HttpRequest) -> User | AnonymousUser:
    """Return the user of a request's session, as `django.contrib.auth.get_user` does.

    The session is flushed only if the password was changed, or if that cannot be determined.
    """
    __traceback_hide__ = True
    session = request.session
    before = session.get(HASH_SESSION_KEY)
    try:
        user = auth.get_user(cast("HttpRequest", SimpleNamespace(session=_GuardedSession(session))))
    except Unverified:
        user = None
    if user is None:
        _reject(request)
        return AnonymousUser()
    is_rewritten = session.get(HASH_SESSION_KEY) != before  # for the present key
    if is_rewritten and not isinstance(user, AnonymousUser):
        note_password(session, user)
    return user


def note_password(session: SessionBase, user: AbstractBaseUser) -> None:
    """Store the digest of the user's current password in the session, with the current time."""
    session[DIGEST] = [_compute_digest(user), int(clock())]


def is_behind(request: HttpRequest) -> bool:
    """Return True if `get_user` could not verify a hash that was made recently.

    Then other processes have a newer key, and the same request may succeed there.
    """
    return getattr(request, IS_BEHIND, False)


@receiver(user_logged_in, dispatch_uid="oauth.note_password")
def _note_sign_in(request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
    note_password(request.session, user)


def _reject(request: HttpRequest) -> None:
    """Flush a session that Django would flush, unless only the key differs."""
    __traceback_hide__ = True
    session = request.session
    if _has_present_password(session):
        logger.warning(
            "A session is answered as signed out: its hash was made with a SECRET_KEY that this "
            "process does not have. All processes need a new key in SECRET_KEY_FALLBACKS before "
            "one of them uses it, and an old one for as long as a session lasts."
        )
        setattr(request, IS_BEHIND, _is_new(session))
    else:
        session.flush()


def _has_present_password(session: SessionBase) -> bool:
    """Return True if the session's digest matches the user's current password."""
    __traceback_hide__ = True
    digest, _ = _load_digest(session)
    if digest is None or not session.get(HASH_SESSION_KEY):
        return False
    user_id = auth.get_user_model()._meta.pk.to_python(session[SESSION_KEY])
    user = auth.load_backend(session[BACKEND_SESSION_KEY]).get_user(user_id)
    return user is not None and constant_time_compare(digest, _compute_digest(user))


def _is_new(session: SessionBase) -> bool:
    """Return True if a session's hash was made since this process started, and just now."""
    _, made_at = _load_digest(session)
    now = clock()
    return started_at < made_at <= now + CLOCK_SKEW and now - made_at < ROLLOUT_MAX


def _load_digest(session: SessionBase) -> tuple[str | None, int]:
    """Return the digest of the password that was hashed, and when, in epoch seconds."""
    match session.get(DIGEST):
        case [str(digest), int(made_at)]:
            return digest, made_at
    return None, 0


def _compute_digest(user: AbstractBaseUser) -> str:
    """Return a digest of the stored password, which is salted and hashed, or random."""
    return hashlib.sha256(b"oauth/password\0" + user.password.encode()).hexdigest()[:32]
