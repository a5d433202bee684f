"""The engine's wheel, in a venv of its own and a fresh project set up by the README's own lines."""

from pathlib import Path

import pytest

from tests import ROOT
from tests.packaging import readme
from tests.packaging.building import ENGINE, build_wheel, environment_with
from tests.packaging.readme_steps import try_readme
from tests.sessions_kms.conftest import make_stack
from tests.sessions_kms.support.project import Project
from tests.sessions_kms.testing.examples import EXAMPLES
from tests.sessions_kms.testing.suite_project import SuiteProject, require_success

__all__ = ["make_stack"]

REASON = "NO PACKAGE WAS BUILT: install hatchling and babel, which requirements/dev.txt holds"
pytest.importorskip("hatchling", reason=REASON)
pytest.importorskip("babel", reason=REASON)


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


@pytest.mark.long
def test_suite_of_a_project_runs_on_its_test_kit(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    project = SuiteProject(folder, environment_with(wheel, tmp_path / "venv"))
    for example in ("test_count.py", "test_members.py"):
        project.write(example, EXAMPLES[example])
    assert "4 passed" in require_success(project.pytest())
    assert "Ran 2 tests" in require_success(project.manage("test", "test_members"))
