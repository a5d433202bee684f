"""`sessions_kms` alone in a fresh Django project: five lines of settings, and the admin works."""

import json
from pathlib import Path

import pytest
import requests

from tests.sessions_kms.support.project import Project, is_admin, sign_in

pytestmark = [
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.usefixtures("make_stack"),  # Its servers, by their variables.
    pytest.mark.timeout(120),
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.install(f"sessions-{tmp_path.name}")
    project.add_settings('SESSION_ENGINE = "sessions_kms.backend"')
    return project


@pytest.mark.long
def test_admin_stays_signed_in_when_the_process_is_killed(project: Project) -> None:
    assert "no issues" in project.manage("check")
    with requests.Session() as browser:
        with project.serving() as url:
            sign_in(browser, url)
        key = browser.cookies["sessionid"]
        with project.serving() as url:
            assert is_admin(browser.get(f"{url}/admin/", timeout=10))
            assert browser.cookies["sessionid"] == key
            browser.cookies.clear()
            assert not is_admin(browser.get(f"{url}/admin/", timeout=10))
    assert project.rows("django_session") == 0

    report = json.loads(project.manage("check_session_store", "--json"))
    assert report["ok"]
    assert not [each for each in report["checks"] if each["level"] == "failing"]
