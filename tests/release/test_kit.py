"""The test kit from the engine's distribution, in a suite that has nothing else of this project."""

import pytest

from tests.packaging.building import ENGINE
from tests.release.conftest import Installer
from tests.sessions_kms.testing.examples import EXAMPLES
from tests.sessions_kms.testing.suite_project import PAGES, SETTINGS

pytestmark = pytest.mark.timeout(900)


def test_suite_of_the_documented_examples_passes_with_pytest_and_with_django(
    install: Installer,
) -> None:
    environment = install(f"{ENGINE} pytest pytest-django")
    files = {"settings.py": SETTINGS, "pages.py": PAGES}
    files |= {name: EXAMPLES[name] for name in ("test_count.py", "test_members.py")}
    for name, text in files.items():
        (environment.current / name).write_text(text, encoding="utf-8")
    python = str(environment.python)
    variables = {"DJANGO_SETTINGS_MODULE": "settings"}
    by_pytest = environment.run(python, "-m", "pytest", "-q", variables=variables)
    assert " passed" in by_pytest.stdout
    assert "failed" not in by_pytest.stdout
    by_django = environment.run(python, "-m", "django", "test", "test_members", variables=variables)
    assert "\nOK\n" in by_django.stderr
