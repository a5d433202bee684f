"""A small Django project with a suite of its own, which runs in processes of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

from tests import ROOT
from tests.support import warm_python

SETTINGS = """
SECRET_KEY = "tests-only-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "pages"
STATIC_URL = "static/"  # for live servers
INSTALLED_APPS = [
    "sessions_kms", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
]
MIDDLEWARE = [
    "sessions_kms.middleware.StoreUnavailableMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_ENGINE = "sessions_kms.testing.backend"
SESSIONS_KMS = {
    "KEY_ID": "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555",
    "TABLE_NAME": "sessions",
}
SESSION_COOKIE_AGE = 7 * 24 * 3600
SILENCED_SYSTEM_CHECKS = ["sessions_kms.W010"]
"""
PAGES = """
from django.http import HttpResponse
from django.urls import path


def count(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse(request.session["n"])


async def acount(request):
    n = await request.session.aget("n", 0) + 1
    await request.session.aset("n", n)
    return HttpResponse(n)


def me(request):
    return HttpResponse(request.user.get_username())


urlpatterns = [path("count", count), path("acount", acount), path("me", me)]
"""
UNWANTED = (
    "anyio",
    "asyncio",
    "cacheprovider",
    "hypothesispytest",
    "platformdirs",
    "randomly",
    "time_machine",
    "timeout",
    "xdist",
)
ENTRY_POINT = "-psessions_kms.testing.pytest_plugin"  # as pytest finds it where it is installed

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class SuiteProject:
    """Files of a project; commands run in its folder, with this source tree on the path.

    Given a Python of its own, it is this that must have the engine. `subprocess.run` runs commands
    that have imported nothing before.
    """

    def __init__(
        self, folder: Path, python: Path | None = None, run: Run = warm_python.run
    ) -> None:
        self.folder = folder
        self._run = run
        self._python = str(python or sys.executable)
        self._path = [str(folder)] if python else [str(folder), str(ROOT)]
        self._plugin = [] if python else [ENTRY_POINT]
        self.write("settings.py", SETTINGS)
        self.write("pages.py", PAGES)
        self.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n")

    def write(self, name: str, text: str) -> None:
        """Write a file, or append to one that is there."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(dedent(text))

    def pytest(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run the suite by pytest, without the plugins that this project's own suite needs.

        To import them, and those that other packages bring, takes half a second.
        """
        names = [name for name in UNWANTED if name != "xdist" or "-n2" not in arguments]
        options = ("-q", *(f"-pno:{name}" for name in names), *self._plugin)
        return self.python("-m", "pytest", *options, *arguments, **variables)

    def manage(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Django."""
        variables |= {"DJANGO_SETTINGS_MODULE": "settings"}
        return self.python("-m", "django", *arguments, **variables)

    def python(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run Python; return what it printed and its status."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "DJANGO", "AWS_ENDPOINT"))
        }
        path = os.pathsep.join(self._path)
        return self._run(
            [self._python, *arguments],
            cwd=self.folder,
            env=kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def require_success(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command printed; it must have succeeded."""
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return printed
