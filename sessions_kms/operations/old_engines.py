"""The engines that a project moves from: Django's database, cached database and cache engines.

Sessions of a database are rows. Sessions of a cache can only be looked up by their keys, except in
Redis, which can list its keys and says when each ends.
"""

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from itertools import islice
from typing import Any

from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.contrib.sessions.backends.cached_db import KEY_PREFIX as CACHED_DATABASE
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.cache.backends.redis import RedisCache
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections
from django.utils import timezone

from sessions_kms.aws.clock import system_time
from sessions_kms.exceptions import StoreUnavailable

CHUNK = 200  # sessions read at once
# https://docs.python.org/3/library/pickle.html#pickle.UnpicklingError, and what JSON raises.
UNREADABLE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)
NO_EXPIRY = -1  # what Redis returns in place of milliseconds


@dataclass(frozen=True)
class OldSession:
    """A live session of the old engine. ``content`` is None if its data cannot be read."""

    key: str = field(repr=False)
    ends_at: int
    content: dict[str, Any] | None = field(repr=False)


def load_engine(module: str, clock: Callable[[], float] = system_time) -> "OldEngine":
    """Return the engine of a module, such as `django.contrib.sessions.backends.cache`.

    A cache only says how long a session has left: its end is counted from ``clock``. Raises
    ImproperlyConfigured for an engine whose sessions cannot be imported.
    """
    try:
        store = import_module(module).SessionStore
    except (ImportError, AttributeError) as exc:
        raise ImproperlyConfigured(f"{module} is not a session engine.") from exc
    if issubclass(store, DatabaseStore):
        return DatabaseEngine(store)
    if issubclass(store, CacheStore):
        return CacheEngine(store, clock)
    raise ImproperlyConfigured(
        f"Sessions of {module} cannot be imported, only those of"
        " django.contrib.sessions.backends.db, cached_db and cache."
    )


class DatabaseEngine:
    """Rows of `django_session`, with a cache before them or without.

    As of every old engine, its sessions stay until they end or are deleted.
    """

    def __init__(self, store: type) -> None:
        self.store: Any = store

    @cached_property
    def _rows(self) -> Any:
        try:
            return self.store.get_model_class().objects
        except (
            RuntimeError
        ) as exc:  # Django raises this for a model of an app that is not installed
            raise ImproperlyConfigured(
                "The old engine's app, such as django.contrib.sessions, must still be in"
                " INSTALLED_APPS: its table is read."
            ) from exc

    def count(self) -> int:
        """Return the number of live sessions, imported or not."""
        count: int = self._live().count()
        return count

    def sessions(self) -> Iterator[list[OldSession]]:
        """Yield all live sessions in batches, ordered by key."""
        after = ""
        while rows := list(
            self._live().filter(session_key__gt=after).order_by("session_key")[:CHUNK]
        ):
            yield [self._read(row) for row in rows]
            after = rows[-1].session_key

    def find(self, key: str) -> OldSession | None:
        """Return the live session of this key."""
        with _fresh_connection():
            row = self._live().filter(session_key=key).first()
            return None if row is None else self._read(row)

    def live_keys(self, sessions: Iterable[OldSession]) -> set[str]:
        """Return the keys of these sessions that are still live."""
        keys = [old.key for old in sessions]
        return set(self._live().filter(session_key__in=keys).values_list("session_key", flat=True))

    def end(self, key: str) -> None:
        """Delete the session of this key."""
        with _fresh_connection():
            self.store(key).delete(key)

    def _live(self) -> Any:
        return self._rows.filter(expire_date__gt=timezone.now())

    def _read(self, row: Any) -> OldSession:
        # Django decodes unsigned data as empty; nothing is lost with an empty session either.
        content = self.store().decode(row.session_data) or None
        ends_at = int(row.expire_date.timestamp())
        return OldSession(row.session_key, ends_at, content)


class CacheEngine:
    """Entries of the cache that `SESSION_CACHE_ALIAS` names.

    Django treats any error of the cache as the end of a session. Here it is StoreUnavailable.
    """

    def __init__(self, store: type, clock: Callable[[], float]) -> None:
        """Raise ImproperlyConfigured if there is no such cache."""
        self.store: Any = store
        self._clock = clock
        self.store()

    def count(self) -> int:
        return sum(1 for _ in self._keys())

    def sessions(self) -> Iterator[list[OldSession]]:
        """Yield all live sessions in batches. Redis may list a key more than once."""
        keys = self._keys()
        while chunk := list(islice(keys, CHUNK)):
            yield [found for key in chunk if (found := self.find(key))]

    def find(self, key: str) -> OldSession | None:
        __traceback_hide__ = True
        store = self.store()
        with _errors_as_unavailable():
            name = store.cache_key_prefix + key
            try:
                content = _client_that_raises(store._cache).get(name)
            except UNREADABLE:
                return OldSession(key, self._find_end(store, name, {}), None)
            if content is None:
                return None
            content = content if isinstance(content, dict) else None
            return OldSession(key, self._find_end(store, name, content or {}), content)

    def live_keys(self, sessions: Iterable[OldSession]) -> set[str]:
        store = self.store()
        with _errors_as_unavailable():
            has_key = _client_that_raises(store._cache).has_key
            keys = [old.key for old in sessions]
            return {key for key in keys if has_key(store.cache_key_prefix + key)}

    def end(self, key: str) -> None:
        __traceback_hide__ = True
        store = self.store()
        with _errors_as_unavailable():
            _client_that_raises(store._cache).delete(store.cache_key_prefix + key)

    def _keys(self) -> Iterator[str]:
        """Yield session keys. Raises ImproperlyConfigured unless the cache can list them."""
        store = self.store()
        prefix = store._cache.make_key(store.cache_key_prefix)
        redis = _redis_of(store._cache)
        if redis is None or store._cache.make_key(f"{store.cache_key_prefix}x") != f"{prefix}x":
            raise ImproperlyConfigured(
                "The old sessions are in a cache that cannot list its keys, so they are imported"
                " one by one, when their visitors come. Leave SESSION_ENGINE at"
                " sessions_kms.moving_in for as long as SESSION_COOKIE_AGE."
            )
        with _errors_as_unavailable():
            for found in redis.scan_iter(match=f"{_escape(prefix)}*", count=CHUNK):
                name = found.decode() if isinstance(found, bytes) else found
                if not name.startswith(store._cache.make_key(CACHED_DATABASE)):
                    yield name[len(prefix) :]

    def _find_end(self, store: Any, name: str, content: dict[str, Any]) -> int:
        """Return when a session ends. If the cache cannot say, its idle timeout starts anew."""
        __traceback_hide__ = True
        now = self._clock()
        redis = _redis_of(store._cache)
        left = NO_EXPIRY if redis is None else redis.pttl(store._cache.make_key(name))
        if left == NO_EXPIRY:
            store._session_cache = content
            return int(now + store.get_expiry_age())
        return int(now + max(0, left) / 1000)


OldEngine = DatabaseEngine | CacheEngine


def _client_that_raises(cache: Any) -> Any:
    """Return what reads a cache and raises its errors.

    django-redis has an option by which a cache that cannot be reached looks empty.
    """
    module = sys.modules.get("django_redis.cache")
    is_django_redis = module is not None and isinstance(cache, module.RedisCache)
    return cache.client if is_django_redis else cache


def _redis_of(cache: Any) -> Any:
    """Return the redis-py client of a cache's primary server; None for a cache of another kind."""
    if isinstance(cache, RedisCache):
        return cache._cache.get_client(write=True)
    client = _client_that_raises(cache)
    is_sharded = hasattr(client, "get_server")
    return None if client is cache or is_sharded else client.get_client(write=True)


def _escape(text: str) -> str:
    """Return a pattern of Redis that matches this text alone."""
    return "".join(f"\\{each}" if each in "*?[]^\\" else each for each in text)


@contextmanager
def _errors_as_unavailable() -> Iterator[None]:
    """Raise StoreUnavailable for any error of a cache; each library has its own."""
    __traceback_hide__ = True
    try:
        yield
    except Exception as exc:
        raise StoreUnavailable("The cache of the old sessions cannot be used.") from exc


@contextmanager
def _fresh_connection() -> Iterator[None]:
    """Close the thread's database connections: outside a request Django does not do it."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
