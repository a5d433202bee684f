"""A project that changes its engine, and changes back, while its visitors stay signed in."""

import json
import os
from pathlib import Path

import pytest
import requests

from tests.sessions_kms.support.project import Project, is_admin, sign_in

SESSIONS = int(os.environ.get("IMPORTED_SESSIONS", "60"))
pytestmark = [
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.usefixtures("make_stack"),  # Its servers, by their variables.
    pytest.mark.timeout(120 + SESSIONS),
    pytest.mark.long,
]
# Sessions as `login()` makes them.
SIGN_IN_MANY = f"""
from importlib import import_module
from django.conf import settings
from django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from django.contrib.auth.models import User
user = User.objects.get(username="ada")
store = import_module(settings.SESSION_ENGINE).SessionStore
for _ in range({SESSIONS}):
    session = store()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    print(session.session_key)
"""

# As `end_sessions` and the admin do it: the row stays.
END = """
from sessions_kms.backend import SessionStore
SessionStore().delete({key!r})
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project on Django's own engine, with ours installed."""
    project = Project(tmp_path)
    project.install(f"sessions-{tmp_path.name}")
    return project


def change_engine(project: Project, engine: str) -> None:
    project.add_settings(f"SESSION_ENGINE = {engine!r}")


def is_admitted_by(engine: str, project: Project, key: str) -> bool:
    """Change a project's engine; return True if that admits a session key."""
    change_engine(project, engine)
    with project.serving() as url:
        return admits(url, key)


def admits(url: str, key: str) -> bool:
    """Return True if a session key, as a visitor's cookie holds it, opens the admin."""
    response = requests.get(f"{url}/admin/", cookies={"sessionid": key}, timeout=10)
    return is_admin(response)


def test_every_cookie_works_after_the_import(project: Project) -> None:
    keys = project.run(SIGN_IN_MANY).split()
    assert len(keys) == SESSIONS
    result = json.loads(project.manage("import_sessions", "--json", "--no-input"))
    assert {outcome: count for outcome, count in result.items() if count} == {"imported": SESSIONS}
    change_engine(project, "sessions_kms.backend")
    project.run(
        "from django.contrib.sessions.models import Session; Session.objects.all().delete()"
    )
    with project.serving() as url:
        assert [key for key in keys if not admits(url, key)] == []


def test_visitor_stays_signed_in_through_the_change_and_back(project: Project) -> None:
    with requests.Session() as browser:
        with project.serving() as url:
            sign_in(browser, url)
        key = browser.cookies["sessionid"]
        assert is_admitted_by("sessions_kms.moving_in", project, key)
        project.manage("import_sessions", "--json", "--no-input")
        assert is_admitted_by("sessions_kms.backend", project, key)
        project.run(
            "from django.contrib.sessions.models import Session; Session.objects.all().delete()"
        )
        assert is_admitted_by("sessions_kms.moving_out", project, key)
        assert is_admitted_by("django.contrib.sessions.backends.db", project, key)
    assert project.rows("django_session") == 1


def test_visitor_stays_signed_in_while_moving_in_out_and_in_again_with_old_rows(
    project: Project,
) -> None:
    with requests.Session() as browser, requests.Session() as other, project.serving() as url:
        sign_in(browser, url)
        sign_in(other, url)
        key, ended = browser.cookies["sessionid"], other.cookies["sessionid"]
    change_engine(project, "sessions_kms.moving_in")
    with project.serving() as url:
        assert admits(url, key)
        assert admits(url, ended)
    project.run(END.format(key=ended))
    assert is_admitted_by("sessions_kms.moving_out", project, key)
    assert project.rows("django_session") == 2
    project.manage("clearsessions")
    assert project.rows("django_session") == 1
    change_engine(project, "django.contrib.sessions.backends.db")
    with project.serving() as url:
        assert admits(url, key)
        assert not admits(url, ended)
    change_engine(project, "sessions_kms.moving_in")
    with project.serving() as url:
        assert admits(url, key)
        assert not admits(url, ended)
