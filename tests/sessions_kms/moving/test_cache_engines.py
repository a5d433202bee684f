"""The change from Django's cache engine: Redis by Django and by django-redis, and another cache."""

import logging
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends import cached_db
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.core.cache import caches
from django.core.management import CommandError
from pytest_django import Settings

from sessions_kms import checks, moving_in
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations import old_engines
from sessions_kms.operations.session_import import Importer
from sessions_kms.services import id_of
from tests.sessions_kms.support import old_engine
from tests.sessions_kms.support.sessions import stored_item
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock
from tests.support.processes import free_port, is_listening
from tests.support.waiting import wait_until


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run a Redis until the block ends; yield its URL. Skips the test if there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("NO REDIS: install Debian's redis-server")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_listening(port), "Redis listens")
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def closed_connections() -> Iterator[None]:
    """Close all connections to a Redis that this process opens in the block, when it ends.

    Neither Django's cache nor django-redis closes one. Until then all pools are kept: a socket
    that the garbage collector finds open is a warning, in whichever test runs just then.
    """
    redis = pytest.importorskip("redis", reason="NO redis: make VENV anew")
    construct = redis.ConnectionPool.__init__
    pools: list[Any] = []

    def construct_and_keep(pool: Any, *args: Any, **options: Any) -> None:
        construct(pool, *args, **options)
        pools.append(pool)

    try:
        with mock.patch.object(redis.ConnectionPool, "__init__", construct_and_keep):
            yield
    finally:
        for pool in pools:
            pool.disconnect()


ENGINE = "django.contrib.sessions.backends.cache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
REDIS = (DJANGO, DJANGO_REDIS)
LOCAL_MEMORY = "django.core.cache.backends.locmem.LocMemCache"
WEEK = 7 * 24 * 3600
old = old_engine.in_use
on_redis = pytest.mark.parametrize("cache", REDIS, indirect=True)
in_memory = pytest.mark.parametrize("cache", [LOCAL_MEMORY], indirect=True)


class NotJSON:
    """A value that a cache can store."""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url, closed_connections():
        yield url


@pytest.fixture(autouse=True, params=[*REDIS, LOCAL_MEMORY])
def cache(request: pytest.FixtureRequest, settings: Settings, clock: FakeClock) -> Iterator[str]:
    """Give the project a cache, and our engine in the place of the cache engine."""
    backend: str = request.param
    location = "sessions"
    if backend != LOCAL_MEMORY:
        library = "redis" if backend == DJANGO else "django_redis"
        if not find_spec(library):
            pytest.skip(f"NO {library}: make VENV anew")
        location = request.getfixturevalue("redis_url")
    use_cache(settings, backend, location)
    settings.SESSION_CACHE_ALIAS = "sessions"
    settings.SESSIONS_KMS = settings.SESSIONS_KMS | {"MIGRATE_FROM": ENGINE}
    clock.now = float(int(time.time()))  # A cache's entries expire by the machine's clock.
    caches["sessions"].clear()
    yield backend
    caches["sessions"].close()


def use_cache(settings: Settings, backend: str, location: str, **options: Any) -> None:
    # What Redis takes for a pattern is a part of the name here.
    entry = {"BACKEND": backend, "LOCATION": location, "KEY_PREFIX": "[a]*?", "OPTIONS": options}
    settings.CACHES = settings.CACHES | {"sessions": entry}


def save_session(**content: Any) -> str:
    """Store a session in the cache; return its key."""
    session = CacheStore()
    session.update(content)
    session.save()
    return str(session.session_key)


def run(*arguments: str) -> tuple[dict[str, Any], int]:
    """Run the command; return the counts that are not 0, and its exit status."""
    counts, status = old_engine.import_sessions(*arguments)
    return {name: count for name, count in counts.items() if count}, status


def test_session_of_the_cache_is_imported_when_it_is_read(fake: Stack) -> None:
    key = save_session(**{USER_ID: "7", "a": 1})
    session = moving_in.SessionStore(key)
    assert dict(session.items()) == {USER_ID: "7", "a": 1}
    session["b"] = 2
    session.save()
    assert stored_item(key) == {USER_ID: "7", "a": 1, "b": 2}
    assert dict(CacheStore(key).items()) == {USER_ID: "7", "a": 1}


def test_unknown_key_is_no_session_in_either(fake: Stack) -> None:
    assert moving_in.SessionStore("y" * 32).load() == {}
    assert not moving_in.SessionStore().exists("y" * 32)
    assert moving_in.SessionStore().exists(save_session(a=1))
    assert fake.sessions() == {}


@pytest.mark.parametrize("read_before", [True, False])
def test_signed_out_session_is_dead_in_both(fake: Stack, read_before: bool) -> None:
    key = save_session(a=1)
    session = moving_in.SessionStore(key)
    if read_before:
        session.load()
    session.flush()
    assert dict(CacheStore(key).items()) == {}
    assert moving_in.SessionStore(key).load() == {}


def test_session_that_was_ended_in_the_table_is_not_revived_by_the_cache(fake: Stack) -> None:
    key = save_session(a=1)
    moving_in.SessionStore(key).load()
    fake.delete_item(id_of(key))
    assert CacheStore(key)["a"] == 1
    assert moving_in.SessionStore(key).load() == {}


@pytest.mark.parametrize(("left", "ends_in"), [(3600, 3600), (30 * 24 * 3600, WEEK)])
def test_session_keeps_its_end_below_the_absolute_timeout(
    fake: Stack, left: int, ends_in: int
) -> None:
    session = CacheStore()
    session["a"] = 1
    session.set_expiry(datetime.fromtimestamp(fake.clock.now + left, UTC))
    session.save()
    moving_in.SessionStore(session.session_key).load()
    (item,) = fake.sessions().values()
    assert abs(int(item["ttl"]["N"]) - (fake.clock.now + ends_in)) <= 5


@on_redis
def test_time_that_redis_has_left_for_a_session_counts(fake: Stack) -> None:
    key = save_session(a=1)
    caches["sessions"].touch(CacheStore.cache_key_prefix + key, 600)
    moving_in.SessionStore(key).load()
    (item,) = fake.sessions().values()
    assert abs(int(item["ttl"]["N"]) - (fake.clock.now + 600)) <= 60


def test_entry_without_an_end_gets_the_idle_timeout(fake: Stack, settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 1000
    key = save_session(a=1)
    caches["sessions"].touch(CacheStore.cache_key_prefix + key, None)
    moving_in.SessionStore(key).load()
    (item,) = fake.sessions().values()
    assert abs(int(item["ttl"]["N"]) - (fake.clock.now + 1000)) <= 60


def test_machine_whose_clock_is_days_behind_signs_nobody_out(
    fake: Stack, settings: Settings
) -> None:
    settings.SESSION_COOKIE_AGE = 1000
    key = save_session(a=1)
    fake.clock.advance(3 * 24 * 3600)  # the services' clock, which DynamoDB corrects
    assert moving_in.SessionStore(key).load() == {"a": 1}
    (item,) = fake.sessions().values()
    assert abs(int(item["ttl"]["N"]) - (fake.clock.now + 1000)) <= 60


@pytest.mark.parametrize(
    ("backend", "options"),
    [(DJANGO, {}), (DJANGO_REDIS, {}), (DJANGO_REDIS, {"IGNORE_EXCEPTIONS": True})],
)
@in_memory  # It is replaced by one that does not answer.
def test_outage_of_the_cache_signs_nobody_out(
    fake: Stack, settings: Settings, backend: str, options: dict[str, Any]
) -> None:
    pytest.importorskip("redis" if backend == DJANGO else "django_redis")
    use_cache(settings, backend, f"redis://127.0.0.1:{free_port()}", **options)
    session = moving_in.SessionStore("x" * 32)
    with pytest.raises(StoreUnavailable) as raised:
        session.load()
    assert session.session_key == "x" * 32
    assert "x" * 32 not in str(raised.value.__cause__)
    with pytest.raises(StoreUnavailable):
        moving_in.SessionStore().delete("x" * 32)
    with pytest.raises(CommandError, match="cannot be used"):
        run()


def test_value_that_is_no_json_is_reported_by_the_name_of_its_key(
    fake: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    key = save_session(cart=NotJSON(), secret="not in the log")
    with caplog.at_level(logging.WARNING, "sessions_kms"):
        assert moving_in.SessionStore(key).load() == {}
    assert id_of(key)[:8] in caplog.text
    assert "'cart'" in caplog.text
    assert "not in the log" not in caplog.text
    assert CacheStore(key)["secret"] == "not in the log"


def test_entry_of_another_type_is_no_session(fake: Stack) -> None:
    caches["sessions"].set(CacheStore.cache_key_prefix + "x" * 32, ["a"])
    assert moving_in.SessionStore("x" * 32).load() == {}
    assert fake.sessions() == {}


@on_redis
def test_entry_that_cannot_be_unpickled_is_no_session(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        f"{__name__}.Gone", type("Gone", (), {"__module__": __name__}), raising=False
    )
    key = save_session(a=globals()["Gone"]())
    monkeypatch.delattr(f"{__name__}.Gone")
    assert moving_in.SessionStore(key).load() == {}
    assert run() == ({"unreadable": 1}, 3)


# A database with a cache before it


@pytest.fixture
def cached_database(settings: Settings, old: None) -> None:
    settings.SESSIONS_KMS = settings.SESSIONS_KMS | {"MIGRATE_FROM": cached_db.__name__}


@pytest.mark.usefixtures("cached_database")
def test_session_of_a_cached_database_is_imported_and_ended_in_all_three(fake: Stack) -> None:
    old_process = cached_db.SessionStore()
    old_process["a"] = 1
    old_process.save()
    key = str(old_process.session_key)
    session = moving_in.SessionStore(key)
    assert session["a"] == 1
    session.flush()
    assert cached_db.SessionStore(key).load() == {}
    assert caches["sessions"].get(cached_db.KEY_PREFIX + key) is None
    assert moving_in.SessionStore(key).load() == {}


@pytest.mark.usefixtures("cached_database")
def test_session_of_a_cached_database_is_imported_without_the_cache(
    fake: Stack, settings: Settings
) -> None:
    old_process = cached_db.SessionStore()
    old_process["a"] = 1
    old_process.save()
    if find_spec("redis"):
        use_cache(settings, DJANGO, f"redis://127.0.0.1:{free_port()}")
    assert run() == ({"imported": 1}, 0)
    assert stored_item(str(old_process.session_key)) == {"a": 1}


# All at once


@on_redis
def test_every_session_of_redis_is_imported_and_nothing_else(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_engines, "CHUNK", 10)
    keys = {save_session(number=number) for number in range(25)}
    caches["sessions"].set("something-else", {"a": 1})
    caches["sessions"].set(cached_db.KEY_PREFIX + "y" * 32, {"a": 1})
    assert run("--dry-run") == ({"live": 25}, 0)
    assert fake.sessions() == {}
    assert run() == ({"imported": 25}, 0)
    assert set(fake.sessions()) == {id_of(key) for key in keys}
    assert run() == ({"there_already": 25}, 0)
    assert all(CacheStore().exists(key) for key in keys)


@on_redis
def test_sessions_that_would_be_left_are_counted_by_the_dry_run_too(fake: Stack) -> None:
    good = save_session(a=1)
    save_session(a=NotJSON())
    assert run("--dry-run") == ({"live": 2, "not_serializable": 1}, 3)
    assert run() == ({"imported": 1, "not_serializable": 1}, 3)
    assert set(fake.sessions()) == {id_of(good)}


@on_redis
def test_session_that_ended_in_the_cache_meanwhile_is_not_brought_back(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = save_session(a=1)
    settle = Importer._settle

    def sign_out_first(self: Any, sessions: Any, outcomes: Any) -> None:
        CacheStore(key).flush()
        settle(self, sessions, outcomes)

    monkeypatch.setattr(Importer, "_settle", sign_out_first)
    assert run() == ({"ended_meanwhile": 1}, 0)
    assert stored_item(key) == {}


@in_memory
def test_cache_without_a_list_of_its_keys_says_how_long_to_wait(fake: Stack) -> None:
    save_session(a=1)
    with pytest.raises(CommandError, match="as long as SESSION_COOKIE_AGE"):
        run()


@on_redis
def test_key_function_that_hides_session_keys_lists_nothing(
    fake: Stack, settings: Settings
) -> None:
    entry = settings.CACHES["sessions"] | {"KEY_FUNCTION": f"{__name__}.reverse_key"}
    settings.CACHES = settings.CACHES | {"sessions": entry}
    key = save_session(a=1)
    with pytest.raises(CommandError, match="as long as SESSION_COOKIE_AGE"):
        run()
    assert moving_in.SessionStore(key)["a"] == 1


def reverse_key(key: str, prefix: str, version: int) -> str:
    return f"{prefix}:{version}:{key}"[::-1]


@in_memory
def test_missing_cache_is_found_by_the_checks(settings: Settings) -> None:
    settings.SESSION_ENGINE = "sessions_kms.moving_in"
    assert list(checks.check_old_engine()) == []
    settings.SESSION_CACHE_ALIAS = "missing"
    (found,) = checks.check_old_engine()
    assert found.id == "sessions_kms.E016"
    assert "'missing'" in found.msg
