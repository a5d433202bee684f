"""docs/guides/from-cache.md, with a Redis of Debian's, by Django's backend and by django-redis."""

import shutil

import pytest

from tests import ROOT
from tests.guides.page import Change, read_steps
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
PROJECT = r"""
```console
$ python3 -m venv .venv && . .venv/bin/activate
$ pip install --quiet 'django~=5.2.0' redis
$ django-admin startproject mysite .
$ redis-server --port 6380 --save '' > redis.log &
```

```python
# mysite/settings.py, at the end
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:6380",
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
```

```console
$ python manage.py migrate --verbosity 0
$ export DJANGO_SUPERUSER_PASSWORD=correct-horse
$ python manage.py createsuperuser --noinput --username ada --email ada@example.com
Superuser created successfully.
$ python manage.py runserver --noreload 8000 > server.log 2>&1 &
$ curl -s --retry 9 --retry-connrefused -c ada.txt -o login.html http://127.0.0.1:8000/admin/login/
$ curl -s -b ada.txt -c ada.txt -w '%{http_code}\n' \
>   -d "csrfmiddlewaretoken=$(awk '/csrf/ {print $7}' ada.txt)" \
>   -d 'username=ada&password=correct-horse' http://127.0.0.1:8000/admin/login/?next=/admin/
302
```
"""
DEPLOYMENT = """
```console
$ kill $!; wait $!; python manage.py runserver --noreload 8000 > server.log 2>&1 &
```
"""
RELOAD = """
```console
$ curl -s --retry 9 --retry-connrefused -b ada.txt http://127.0.0.1:8000/admin/ \
>   | grep -o '<title>.*</title>'
<title>Site administration | Django site admin</title>
```
"""


@pytest.mark.parametrize("library", [DJANGO, DJANGO_REDIS], ids=["Django", "django-redis"])
def test_user_stays_signed_in(reader: Reader, library: dict[str, str]) -> None:
    redis, site = map(str, free_ports(2))
    reader.own = library | {"6380": redis, "8000": site, "redis-cli ": f"redis-cli -p {redis} "}

    def follow(page: str) -> None:
        for step in read_steps(page):
            reader.take(step)
            if isinstance(step, Change):
                follow(DEPLOYMENT + RELOAD)

    follow(PROJECT)
    follow((ROOT / "docs/guides/from-cache.md").read_text(encoding="utf-8"))
    follow(RELOAD)
    assert "0 imported, 1 there already" in "".join(reader.printed)
    assert reader.terminal.run(f"redis-cli -p {redis} dbsize") == (0, "0\n")
