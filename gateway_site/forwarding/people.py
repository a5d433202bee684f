"""Who calls: a memory of some seconds, so that most calls ask the database nothing.

A request enters; the id of its active person leaves, or None. What is kept of a person is
what Django compares a session with. It is dropped when the person is saved or deleted in
this process, and too old a moment later whatever other processes do (`PERSON_CACHE_AGE`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
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
OF_NO_MATTER = frozenset({"last_login"})  # which each sign-in saves


@dataclass(frozen=True)
class Known:
    """An active person, as the database had it when it was asked."""

    asked_at: float
    backend: str
    auth_hash: str = field(repr=False)


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
        asked_at, drops = self._clock(), self._drops
        user = self._asked(request)
        if not (user.is_authenticated and user.is_active):
            return None
        found = user_id_of(user)
        backend = request.session[BACKEND_SESSION_KEY]
        self._keep(found, Known(asked_at, backend, user.get_session_auth_hash()), drops)
        return found

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
        known = self._known.get(person)
        if known is None or self._is_old(known):
            return False
        backend, auth_hash = map(session.get, (BACKEND_SESSION_KEY, HASH_SESSION_KEY))
        return (
            backend == known.backend
            and backend in settings.AUTHENTICATION_BACKENDS
            and constant_time_compare(auth_hash or "", known.auth_hash)
        )

    def _asked(self, request: HttpRequest) -> AbstractBaseUser | Any:
        """Ask the database; while it cannot be reached, one at a time.

        The others are told at once: they would hold the threads of those who are known.
        """
        alone = self._unreachable
        if alone and not self._turn.acquire(blocking=False):
            raise OperationalError("The database could not be reached a moment ago.")
        try:
            request.user.is_authenticated  # noqa: B018 - Django asks when it is looked at
        except OperationalError:
            self._unreachable = True
            raise
        else:
            self._unreachable = False
        finally:
            if alone:
                self._turn.release()
        return request.user

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
