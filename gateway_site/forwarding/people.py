"""Who asks: a memory of some seconds, so that most calls ask the database nothing.

A request enters; the id of its active person leaves, or None; for a page that only shows
something, the person. What is kept of a person is what Django compares a session with, and a
copy of the row. It is dropped when the person is saved or deleted in this process, and too old a
moment later whatever other processes do (`PERSON_CACHE_AGE`).
"""

from __future__ import annotations

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

from gateway_site.forwarding import session_watch
from sessions_kms import user_id_of

MOST = 10_000  # people of whom something is kept
CALLER = "_gateway_caller"  # the request's attribute for a person whom Django was not asked for
FOUND = "_cached_user"  # Django's, for one whom it was asked for
OF_NO_MATTER = frozenset({"last_login"})  # which each sign-in saves


@dataclass(frozen=True)
class Known:
    """An active person, as the database had it when it was asked."""

    asked_at: float
    backend: str
    auth_hash: str = field(repr=False)
    user: AbstractBaseUser = field(repr=False)  # copied for each who gets it


class People:
    """The people that called in the last seconds. `age` is in seconds; 0 keeps nobody."""

    def __init__(self, age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._age = age
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, Known] = {}  # the oldest first
        self._drops = 0
        self._unreachable = False
        self._turn = Lock()

    def caller(self, request: HttpRequest) -> str | None:
        """Return the id of the active person who calls; None where nobody is signed in.

        Whoever is not known, or whose session does not match, goes Django's way, which knows
        of former secret keys. Raises django.db.OperationalError and StoreUnavailable.
        """
        __traceback_hide__ = True
        person = request.session.get(SESSION_KEY)
        if person is None:
            return None
        if self._knows(person, request.session):
            setattr(request, CALLER, person)
            return str(person)
        user = self._asked(lambda: _authenticated(request), request.session)
        return None if user is None else user_id_of(user)

    def at_hand(self, session: Mapping[str, Any]) -> AbstractBaseUser | None:
        """Return the active person whose session holds this, if the database need not be asked."""
        __traceback_hide__ = True
        known = self._known_of(session.get(SESSION_KEY), session)
        return None if known is None else copy(known.user)

    def found(self, session: Mapping[str, Any]) -> AbstractBaseUser | None:
        """Ask the database for the active person whose session holds this.

        None for whoever goes Django's way, as in `caller`. Raises django.db.OperationalError.
        """
        __traceback_hide__ = True
        return self._asked(partial(_matching, session), session)

    def answers_for(self, session: Mapping[str, Any] | SessionBase) -> bool:
        """Tell whether the database need not be asked who has a session of this content."""
        __traceback_hide__ = True
        person = session.get(SESSION_KEY)
        return person is None or self._knows(person, session)

    def drop(self, person: str) -> None:
        """Forget somebody, and what is being asked about anybody at this moment."""
        with self._lock:
            self._drops += 1
            self._known.pop(person, None)

    def _knows(self, person: str, session: Mapping[str, Any] | SessionBase) -> bool:
        __traceback_hide__ = True
        return self._known_of(person, session) is not None

    def _known_of(
        self, person: str | None, session: Mapping[str, Any] | SessionBase
    ) -> Known | None:
        __traceback_hide__ = True
        known = None if person is None else self._known.get(person)
        if known is None or self._is_old(known):
            return None
        backend, auth_hash = map(session.get, (BACKEND_SESSION_KEY, HASH_SESSION_KEY))
        is_theirs = (
            backend == known.backend
            and backend in settings.AUTHENTICATION_BACKENDS
            and constant_time_compare(auth_hash or "", known.auth_hash)
        )
        return known if is_theirs else None

    def _asked(
        self,
        ask: Callable[[], AbstractBaseUser | None],
        session: Mapping[str, Any] | SessionBase,
    ) -> AbstractBaseUser | None:
        """Ask for the person of a session, and keep who is found and active."""
        __traceback_hide__ = True
        asked_at, drops = self._clock(), self._drops
        user = self._asked_in_turn(ask)
        if user is None or not user.is_active:
            return None
        auth_hash = user.get_session_auth_hash()
        known = Known(asked_at, session[BACKEND_SESSION_KEY], auth_hash, copy(user))
        self._keep(user_id_of(user), known, drops)
        return user

    def _asked_in_turn(self, ask: Callable[[], AbstractBaseUser | None]) -> AbstractBaseUser | None:
        """Ask the database; while it cannot be reached, one at a time.

        The others are told at once: they would hold the threads of those who are known.
        """
        __traceback_hide__ = True
        alone = self._unreachable
        if alone and not self._turn.acquire(blocking=False):
            raise OperationalError("The database could not be reached a moment ago.")
        try:
            user = ask()
        except OperationalError:
            self._unreachable = True
            raise
        else:
            self._unreachable = False
        finally:
            if alone:
                self._turn.release()
        return user

    def _keep(self, person: str, known: Known, drops: int) -> None:
        with self._lock:
            if drops != self._drops or self._is_old(known):
                return  # Somebody was saved meanwhile, or the database took longer than it holds.
            self._known.pop(person, None)
            self._known[person] = known
            while len(self._known) > MOST or self._is_old(next(iter(self._known.values()))):
                del self._known[next(iter(self._known))]

    def _is_old(self, known: Known) -> bool:
        return not 0 <= self._clock() - known.asked_at < self._age


def _authenticated(request: HttpRequest) -> AbstractBaseUser | None:
    """Return whom Django finds for a request; it asks when the person is looked at."""
    return cast("AbstractBaseUser", request.user) if request.user.is_authenticated else None


def _matching(session: Mapping[str, Any]) -> AbstractBaseUser | None:
    """Return whom Django would find for a session of this content, where its hash is the present.

    A hash of a former secret key has Django write the session: None, as for who is not there.
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
def people() -> People:
    """Return those whom this process knows."""
    return People(settings.PERSON_CACHE_AGE)


os.register_at_fork(after_in_child=people.cache_clear)  # a thread may hold the lock


@receiver(post_save, dispatch_uid="gateway.person_saved")
# Of people alone: whoever listens to all models has Django read each row that it deletes.
@receiver(post_delete, sender=settings.AUTH_USER_MODEL, dispatch_uid="gateway.person_deleted")
def forget(instance: Model, using: str | None = None, update_fields: Any = None, **_: Any) -> None:
    """Forget a person who changed, and look at their streams, once others can see the change.

    Until then the database shows others the former state: it is forgotten at both moments.
    """
    if not isinstance(instance, get_user_model()) or update_fields == OF_NO_MATTER:
        return
    person = user_id_of(instance)

    def seen() -> None:
        people().drop(person)
        session_watch.look_again(person)

    people().drop(person)
    transaction.on_commit(seen, using=using)
