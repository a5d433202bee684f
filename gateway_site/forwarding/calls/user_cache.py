"""A cache of the active users of the last seconds, so that most calls do not query the database.

An entry holds what Django compares a session with, and a copy of the row. It is dropped when the
user is saved or deleted in this process; changes by other processes count after `PERSON_CACHE_AGE`.
"""

import os
import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache, partial
from threading import Lock
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.db import OperationalError, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from gateway_site.forwarding.calls.watch import notify_user_changed
from sessions_kms import user_id_of

SIZE_MAX = 10_000  # users
IRRELEVANT_FIELDS = frozenset({"last_login"})  # every sign-in saves it


@dataclass(frozen=True)
class CachedUser:
    """An active user, as loaded from the database."""

    loaded_at: float
    backend: str
    auth_hash: str = field(repr=False)
    user: AbstractBaseUser = field(repr=False)  # every reader gets a copy


class UserCache:
    """The users of the last seconds. `age` is in seconds; 0 caches nobody."""

    def __init__(self, age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._age = age
        self._clock = clock
        self._lock = Lock()
        self._users: dict[str, CachedUser] = {}  # the oldest first
        self._drops = 0
        self._unreachable = False
        self._query_lock = Lock()

    def active_user_id(self, request: HttpRequest) -> str | None:
        """Return the id of the active user of a request; None if nobody is signed in.

        Users that are not cached, or whose session does not match, are looked up by Django, which
        knows former secret keys. Raises django.db.OperationalError and StoreUnavailable.
        """
        __traceback_hide__ = True
        person = request.session.get(SESSION_KEY)
        if person is None:
            return None
        if (known := self.cached_id(request.session)) is not None:
            return known
        user = self._load(lambda: _user_of_request(request), request.session)
        return None if user is None else user_id_of(user)

    def cached_id(self, session: SessionBase) -> str | None:
        """Return the id of the cached user of a session that was read, or None."""
        __traceback_hide__ = True
        person = session.get(SESSION_KEY)
        if person is None or self._cached_for(person, session) is None:
            return None
        return str(person)

    def cached_user(self, session: Mapping[str, Any] | SessionBase) -> AbstractBaseUser | None:
        """Return a copy of the cached user of a session with this content, or None."""
        __traceback_hide__ = True
        known = self._cached_for(session.get(SESSION_KEY), session)
        return None if known is None else copy(known.user)

    def load_user(self, session: Mapping[str, Any]) -> AbstractBaseUser | None:
        """Load the active user of a session with this content from the database.

        None for users that Django has to look up, as in `active_user_id`. Raises
        django.db.OperationalError.
        """
        __traceback_hide__ = True
        return self._load(partial(_user_of_session, session), session)

    def forget(self, person: str) -> None:
        """Drop a user, and discard queries that are running now."""
        with self._lock:
            self._drops += 1
            self._users.pop(person, None)

    def _cached_for(
        self, person: str | None, session: Mapping[str, Any] | SessionBase
    ) -> CachedUser | None:
        __traceback_hide__ = True
        known = None if person is None else self._users.get(person)
        if known is None or self._is_old(known):
            return None
        backend, auth_hash = map(session.get, (BACKEND_SESSION_KEY, HASH_SESSION_KEY))
        is_theirs = (
            backend == known.backend
            and backend in settings.AUTHENTICATION_BACKENDS
            and constant_time_compare(auth_hash or "", known.auth_hash)
        )
        return known if is_theirs else None

    def _load(
        self,
        query: Callable[[], AbstractBaseUser | None],
        session: Mapping[str, Any] | SessionBase,
    ) -> AbstractBaseUser | None:
        """Query the user of a session; cache an active one."""
        __traceback_hide__ = True
        loaded_at, drops = self._clock(), self._drops
        user = self._query_database(query)
        if user is None or not user.is_active:
            return None
        auth_hash = user.get_session_auth_hash()
        known = CachedUser(loaded_at, session[BACKEND_SESSION_KEY], auth_hash, copy(user))
        self._keep(user_id_of(user), known, drops)
        return user

    def _query_database(
        self, query: Callable[[], AbstractBaseUser | None]
    ) -> AbstractBaseUser | None:
        """Query the database; while it is unreachable, one query at a time.

        The others fail at once: they would take the threads of users that are cached.
        """
        __traceback_hide__ = True
        alone = self._unreachable
        if alone and not self._query_lock.acquire(blocking=False):
            raise OperationalError("The database could not be reached a moment ago.")
        try:
            user = query()
        except OperationalError:
            self._unreachable = True
            raise
        else:
            self._unreachable = False
        finally:
            if alone:
                self._query_lock.release()
        return user

    def _keep(self, person: str, known: CachedUser, drops: int) -> None:
        with self._lock:
            if drops != self._drops or self._is_old(known):
                return  # A user was saved meanwhile, or the query took longer than an entry lasts.
            self._users.pop(person, None)
            self._users[person] = known
            while len(self._users) > SIZE_MAX or self._is_old(next(iter(self._users.values()))):
                del self._users[next(iter(self._users))]

    def _is_old(self, known: CachedUser) -> bool:
        return not 0 <= self._clock() - known.loaded_at < self._age


def _user_of_request(request: HttpRequest) -> AbstractBaseUser | None:
    """Return the user that Django finds for a request."""
    return cast("AbstractBaseUser", request.user) if request.user.is_authenticated else None


def _user_of_session(session: Mapping[str, Any]) -> AbstractBaseUser | None:
    """Return the user that Django would find for a session, if its hash is the current one.

    With the hash of a former secret key Django writes the session: None, as for an unknown user.
    https://docs.djangoproject.com/en/stable/topics/auth/default/#session-invalidation-on-password-change
    """
    __traceback_hide__ = True
    backend = session.get(BACKEND_SESSION_KEY)
    if backend not in settings.AUTHENTICATION_BACKENDS:
        return None
    user: AbstractBaseUser | None = load_backend(backend).get_user(session[SESSION_KEY])
    auth_hash = session.get(HASH_SESSION_KEY) or ""
    if user is None or not constant_time_compare(auth_hash, user.get_session_auth_hash()):
        return None
    return user


@cache
def user_cache() -> UserCache:
    """Return this process's cache."""
    return UserCache(settings.PERSON_CACHE_AGE)


os.register_at_fork(after_in_child=user_cache.cache_clear)  # a thread may hold the lock


@receiver(post_save, dispatch_uid="gateway.person_saved")
# Only of users: with a receiver for all models Django would read each row that it deletes.
@receiver(post_delete, sender=settings.AUTH_USER_MODEL, dispatch_uid="gateway.person_deleted")
def forget_changed_user(
    instance: Model, using: str | None = None, update_fields: Any = None, **_: Any
) -> None:
    """Drop a changed user, and check their streams, once others can see the change.

    Until then the database shows others the former state: the user is dropped both now and then.
    """
    if not isinstance(instance, get_user_model()) or update_fields == IRRELEVANT_FIELDS:
        return
    person = user_id_of(instance)

    def after_commit() -> None:
        user_cache().forget(person)
        notify_user_changed(person)

    user_cache().forget(person)
    transaction.on_commit(after_commit, using=using)
