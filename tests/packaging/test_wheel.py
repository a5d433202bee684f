"""The engine's wheel, in a venv of its own and a fresh project set up by the README's own lines."""

import json
import re
from pathlib import Path

import pytest
import requests

from tests import ROOT
from tests.packaging import readme
from tests.packaging.building import ENGINE, build_wheel, environment_with
from tests.sessions_kms.conftest import make_stack
from tests.sessions_kms.support.project import Project, is_admin, sign_in
from tests.sessions_kms.testing.suite_project import SuiteProject, require_success
from tests.sessions_kms.testing.test_examples import EXAMPLES

__all__ = ["make_stack"]

REASON = "NO PACKAGE WAS BUILT: install hatchling and babel, which requirements/dev.txt holds"
pytest.importorskip("hatchling", reason=REASON)
pytest.importorskip("babel", reason=REASON)
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def test_readme_names_the_distribution() -> None:
    assert readme.requirement() == ENGINE


@pytest.mark.long
@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
@pytest.mark.usefixtures("make_stack")  # Its servers, by their variables.
def test_installed_by_the_readme_it_keeps_an_admin_signed_in_over_a_kill(
    wheel: Path, tmp_path: Path
) -> None:
    project = Project(tmp_path, environment_with(wheel, tmp_path / "venv"))
    assert try_readme(project).is_relative_to(tmp_path / "venv")


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


@pytest.mark.long
def test_suite_of_a_project_runs_on_its_test_kit(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    project = SuiteProject(folder, environment_with(wheel, tmp_path / "venv"))
    for example in ("test_count.py", "test_members.py"):
        project.write(example, EXAMPLES[example])
    assert "5 passed" in require_success(project.pytest())
    assert "Ran 3 tests" in require_success(project.manage("test", "test_members"))


def replace_in_settings(project: Project, old: str, new: str) -> None:
    path = project.folder / "site_of_mine" / "settings.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
