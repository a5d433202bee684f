"""A new Django project with the engine on its path, in separate processes."""

import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import requests

from tests import ROOT
from tests.support import warm_python
from tests.support.processes import free_ports, running

PACKAGE = ROOT / "sessions_kms"
PASSWORD = "correct horse battery staple"
REGION = "eu-west-1"


class Project:
    """A project from `django-admin startproject`, with the engine on its path and nothing else.

    With ``python``, the engine must be installed for that Python.
    """

    def __init__(self, folder: Path, python: Path | None = None) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self._python = str(python or sys.executable)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DJANGO_SETTINGS_MODULE", "PYTHONPATH"}
        }
        self.environment = kept | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        if python is None:
            self.environment["PYTHONPATH"] = str(self._library(folder))
        self._log = folder / "server.log"
        self._run("-m", "django", "startproject", "site_of_mine", ".")
        # The tests run on every supported Python.
        self.add_settings('SILENCED_SYSTEM_CHECKS = ["sessions_kms.W010"]')

    def install(self, table: str) -> None:
        """Install the app with its own store, as in the README, and a superuser."""
        self.add_settings('INSTALLED_APPS.insert(0, "sessions_kms")')
        made = json.loads(
            self.manage(
                "create_session_store",
                "--json",
                "--create-key",
                f"--table={table}",
                f"--region={REGION}",
            )
        )
        named = {"KEY_ID": made["key_arn"], "TABLE_NAME": table, "REGION_NAME": REGION}
        self.add_settings(
            'MIDDLEWARE.insert(0, "sessions_kms.middleware.StoreUnavailableMiddleware")',
            f"SESSIONS_KMS = {named!r}",
            "SESSION_COOKIE_AGE = 7 * 24 * 3600",
        )
        self.manage("migrate", "--verbosity", "0")
        self.manage("createsuperuser", "--noinput", "--username=ada", "--email=a@example.com")

    def run(self, code: str) -> str:
        """Run code with the project's settings; return its output."""
        return self.manage("shell", "--verbosity", "0", "--command", code)

    def add_settings(self, *lines: str) -> None:
        with (self.folder / "site_of_mine" / "settings.py").open("a") as settings:
            settings.write("\n".join(["", *lines, ""]))

    def manage(self, *command: str) -> str:
        return self._run("manage.py", *command)

    @staticmethod
    def _library(folder: Path) -> Path:
        library = folder / "library"
        library.mkdir()
        (library / "sessions_kms").symlink_to(PACKAGE)
        return library

    def _run(self, *arguments: str) -> str:
        done = warm_python.run(
            [self._python, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve until the block ends, then kill the process (kill -9)."""
        (port,) = free_ports(1)
        manage = str(self.folder / "manage.py")
        command = [self._python, manage, "runserver", "--noreload", f"127.0.0.1:{port}"]
        with running(command, self.environment, self._log, port):
            yield f"http://127.0.0.1:{port}"

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database:
            # One of the tables that Django created.
            found = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            return int(found[0])


def sign_in(browser: requests.Session, url: str) -> None:
    form = browser.get(f"{url}/admin/login/", timeout=10).text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token is not None
    response = browser.post(
        f"{url}/admin/login/",
        data={
            "csrfmiddlewaretoken": token[1],
            "username": "ada",
            "password": PASSWORD,
            "next": "/admin/",
        },
        timeout=10,
    )
    assert is_admin(response)


def is_admin(response: requests.Response) -> bool:
    return response.status_code == 200 and "Site administration" in response.text
