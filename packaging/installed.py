"""Install the wheels of a folder into an empty environment, and use them there.

    python packaging/installed.py dist

The dependencies come from the package index. Runs on every system, with the standard library alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SETTINGS = """\
SECRET_KEY = "only-for-this-test-" + "x" * 40
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["sessions_kms", "django.contrib.contenttypes", "django.contrib.auth"]
SESSION_ENGINE = "sessions_kms.testing.backend"
SESSION_COOKIE_AGE = 7 * 24 * 3600
SESSIONS_KMS = {
    "KEY_ID": "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000000",
    "TABLE_NAME": "sessions",
}
"""
TEST = """\
from importlib import import_module

from django.conf import settings
from django.test import SimpleTestCase

from sessions_kms.testing import SessionStoreMixin, store


class InstalledTests(SessionStoreMixin, SimpleTestCase):
    def test_a_session_is_stored_and_ends_after_a_week(self):
        engine = import_module(settings.SESSION_ENGINE)
        session = engine.SessionStore()
        session["greeting"] = "hello"
        session.save()
        key = session.session_key
        self.assertEqual(engine.SessionStore(key)["greeting"], "hello")
        store.advance(days=8)
        self.assertNotIn("greeting", engine.SessionStore(key))
"""


def main(folder: str) -> None:
    """Exit with an error if anything fails."""
    wheels = sorted(str(path.resolve()) for path in Path(folder).glob("*.whl"))
    if len(wheels) != 2:
        sys.exit(f"{folder} has {len(wheels)} wheels; both distributions are needed.")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        venv.create(place / "venv", with_pip=True)
        programs = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        python = programs / "python"
        _run(python, "-m", "pip", "install", *wheels, cwd=place)
        (place / "settings.py").write_text(SETTINGS, encoding="utf-8")
        (place / "test_installed.py").write_text(TEST, encoding="utf-8")
        _run(python, "-m", "django", "test", "--settings", "settings", cwd=place)
        _run(programs / "kms-gateway", "help", "serve", cwd=place)


def _run(program: Path, *arguments: str, cwd: Path) -> None:
    subprocess.run([str(program), *arguments], cwd=cwd, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
