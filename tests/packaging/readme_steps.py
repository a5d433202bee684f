"""The steps of the engine's README in a new project."""

import json
import re
from pathlib import Path

import requests

from tests import ROOT
from tests.packaging import readme
from tests.sessions_kms.support.project import Project, is_admin, sign_in

PACKAGE = ROOT / "sessions_kms"

WHAT_IS_THERE = """
import json, sessions_kms
from django.core.management import get_commands, load_command_class
names = [name for name, app in get_commands().items() if app == "sessions_kms"]
for name in names:
    load_command_class("sessions_kms", name)
print(json.dumps([sessions_kms.__file__, names]))
"""

PLACEHOLDER = "arn:aws:kms:…:key/…"


def try_readme(project: Project) -> Path:
    """Do what the README says in a new project; return where the engine is."""
    project.add_settings(*readme.settings())
    create, migrate, check = readme.commands()
    assert (create[0], migrate, check) == (
        "create_session_store", ["migrate"], ["check_session_store"],
    )  # fmt: skip
    arn = re.findall(r"^KEY_ID: (arn:\S+)$", project.manage(*create), re.MULTILINE)
    replace_in_settings(project, PLACEHOLDER, *arn)

    assert "no issues" in project.manage("check")
    project.manage(*migrate, "--verbosity=0")
    project.manage("createsuperuser", "--noinput", "--username=ada", "--email=a@example.com")
    with requests.Session() as browser:
        with project.serving() as url:
            sign_in(browser, url)
        with project.serving() as url:
            assert is_admin(browser.get(f"{url}/admin/", timeout=10))
            sessions = browser.get(f"{url}/admin/sessions_kms/session/", timeout=10)
            assert sessions.status_code == 200
    project.manage(*check)  # It exits with 0, else this fails.
    where, commands = json.loads(project.run(WHAT_IS_THERE))
    assert set(commands) == {
        path.stem for path in (PACKAGE / "management/commands").glob("[a-z]*.py")
    }
    return Path(where)


def replace_in_settings(project: Project, old: str, new: str) -> None:
    path = project.folder / "site_of_mine" / "settings.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
