"""A minimal Django project for the session engines, configured in the process."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from tests.bench.start import VARIABLE
from tests.gateway_site.support.postgresql import binaries, running_postgresql
from tests.support.processes import free_port
from tests.support.production import children
from tests.support.production.aws import PLAIN_TABLE, REGION

REDIS = "redis-server"


@contextmanager
def redis(folder: Path) -> Iterator[str | None]:
    """Run a Redis and yield its URL; None if Redis is not installed."""
    if shutil.which(REDIS) is None or find_spec("redis") is None:
        yield None
        return
    port = free_port()
    command = [
        REDIS,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with children.server(command, port, log=folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def postgresql() -> Iterator[dict[str, Any] | None]:
    """Run a PostgreSQL and yield its settings; None if PostgreSQL is not installed."""
    if (folder := binaries()) is None:
        yield None
        return
    with running_postgresql(folder) as server:
        found = {"HOST": "127.0.0.1", "PORT": server.port, "USER": "postgres", "NAME": "postgres"}
        yield {"DATABASES": {"default": {"ENGINE": "django.db.backends.postgresql", **found}}}


def site(folder: Path, sessions_kms: dict[str, Any], cache: str | None) -> dict[str, Any]:
    """Return the settings, which can be serialized as JSON."""
    backend = "redis.RedisCache" if cache else "locmem.LocMemCache"
    return {
        "SECRET_KEY": "bench-only-" + "0123456789abcdef" * 3,
        "ALLOWED_HOSTS": ["127.0.0.1"],
        "USE_TZ": True,
        "INSTALLED_APPS": [
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
        ],
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "site.sqlite3"),
                # As in production: otherwise writers wait for readers.
                "OPTIONS": {"init_command": "PRAGMA journal_mode=wal", "timeout": 30},
            }
        },
        "CACHES": {
            "default": {
                "BACKEND": f"django.core.cache.backends.{backend}",
                "LOCATION": cache or "bench",
            }
        },
        "SESSION_ENGINE": "sessions_kms.backend",
        "SESSIONS_KMS": sessions_kms,
        "DYSESSION": {"DYNAMODB_TABLENAME": PLAIN_TABLE, "DYNAMODB_REGION": REGION},
    }


def set_up(found: dict[str, Any]) -> None:
    """Configure this process, and store the settings for its children."""
    os.environ[VARIABLE] = json.dumps(found)
    settings.configure(**found)
    django.setup()


def set_up_child(**more: Any) -> None:
    """Configure a child like its parent, with additional settings."""
    settings.configure(**{**json.loads(os.environ[VARIABLE]), **more})
    django.setup()
