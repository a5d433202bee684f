"""From a Redis of Debian's, by Django's backend and by django-redis."""

import shutil

import pytest

from tests import ROOT
from tests.guides.runner import Reader
from tests.support.processes import free_ports

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
    pytest.mark.skipif(
        not (shutil.which("redis-server") and shutil.which("redis-cli")),
        reason="NO REDIS: install Debian's redis-server",
    ),
]
DJANGO = {"backends.redis.RedisCache": "backends.redis.RedisCache"}
DJANGO_REDIS = {
    "django.core.cache.backends.redis.RedisCache": "django_redis.cache.RedisCache",
    "django~=5.2.0' redis": "django~=5.2.0' django-redis",
}


@pytest.mark.parametrize("library", [DJANGO, DJANGO_REDIS], ids=["Django", "django-redis"])
def test_from_cache(reader: Reader, library: dict[str, str]) -> None:
    redis, site = map(str, free_ports(2))
    reader.own = library | {"6380": redis, "8000": site}
    reader.follow(ROOT / "docs/guides/from-cache.md")
