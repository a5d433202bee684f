"""The examples of docs/testing.md run as they are printed."""

import re
from pathlib import Path

import pytest

from tests import ROOT
from tests.sessions_kms.testing.suite_project import SuiteProject, require_success

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"^```python\n# (test_\w+\.py)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
)
OF_PYTEST = ["test_count.py", "test_members.py", "test_repositories.py", "test_with_moto.py"]
OAUTH_SETTINGS = """
from tests.settings import *

SESSION_ENGINE = "sessions_kms.testing.backend"
ROOT_URLCONF = "repository_pages"
MIDDLEWARE = [
    "sessions_kms.middleware.StoreUnavailableMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
SOCIALACCOUNT_PROVIDERS = {
    "github": {"SCOPE": ["repo"], "APPS": [{"client_id": "a", "secret": "b"}]},
}
"""
REPOSITORY_PAGES = """
import requests
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from oauth import ReauthenticationRequired, get_token


def repositories(request):
    try:
        token = get_token(request, "github")
    except ReauthenticationRequired:
        return HttpResponse(status=401)
    headers = {"Authorization": f"Bearer {token.access_token}"}
    return HttpResponse(requests.get(settings.API, headers=headers, timeout=10).content)


urlpatterns = [path("repositories", repositories)]
"""


def project_with(folder: Path, example: str) -> SuiteProject:
    project = SuiteProject(folder)
    project.write(example, EXAMPLES[example])
    project.write("oauth_settings.py", OAUTH_SETTINGS)
    project.write("repository_pages.py", REPOSITORY_PAGES)
    return project


def test_every_example_runs_here() -> None:
    assert sorted(EXAMPLES) == OF_PYTEST


def test_view_of_the_examples_is_that_of_the_project() -> None:
    project_code = re.search(r"^def count\(.*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert project_code is not None
    from tests.sessions_kms.testing.suite_project import PAGES

    assert project_code[0].partition("```")[0].strip() in PAGES


@pytest.mark.parametrize("example", OF_PYTEST)
def test_example_passes_under_pytest(tmp_path: Path, example: str) -> None:
    settings = "oauth_settings" if example == "test_repositories.py" else "settings"
    printed = require_success(project_with(tmp_path, example).pytest(f"--ds={settings}", "-Werror"))
    assert re.search(r"\d passed", printed)


def test_example_of_unittest_passes_without_pytest(tmp_path: Path) -> None:
    printed = require_success(project_with(tmp_path, "test_members.py").manage("test"))
    assert "Ran 3 tests" in printed


@pytest.mark.parametrize("example", ["test_count.py", "test_members.py", "test_repositories.py"])
def test_example_needs_its_time_to_pass(tmp_path: Path, example: str) -> None:
    """Without `advance` it fails: it tests what it seems to test."""
    project = project_with(tmp_path, example)
    file = project.folder / example
    file.write_text(re.sub(r"\S*store\.advance\(.*\)", "pass", file.read_text("utf-8")))
    settings = "oauth_settings" if example == "test_repositories.py" else "settings"
    assert project.pytest(f"--ds={settings}").returncode == 1
