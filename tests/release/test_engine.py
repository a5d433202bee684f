"""The engine from its distribution, in a new Django project."""

from pathlib import Path

import pytest

from tests.packaging.building import ENGINE
from tests.packaging.readme_steps import try_readme
from tests.release.conftest import Installer
from tests.sessions_kms.support.project import Project

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
@pytest.mark.usefixtures("make_stack")  # Its servers, by their variables.
def test_new_project_set_up_by_the_readme_keeps_an_admin_signed_in(
    install: Installer, tmp_path: Path
) -> None:
    environment = install(ENGINE)
    project = Project(tmp_path, environment.python)
    assert try_readme(project).is_relative_to(environment.folder / "venv")


def test_extra_otel_brings_opentelemetry(install: Installer) -> None:
    environment = install(f"{ENGINE}[otel]")
    environment.run(str(environment.python), "-c", "import opentelemetry.metrics")
