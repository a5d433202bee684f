"""The examples of docs/testing.md run as they are printed."""

import re
from pathlib import Path

import pytest

from tests.sessions_kms.testing.examples import EXAMPLES, PAGE
from tests.sessions_kms.testing.suite_project import SuiteProject, require_success

RUNS = [
    ("settings", ("test_count.py", "test_members.py")),
    ("oauth_settings", ("test_repositories.py",)),
]
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


def project_with(folder: Path, *examples: str) -> SuiteProject:
    project = SuiteProject(folder)
    for example in examples:
        project.write(example, EXAMPLES[example])
    project.write("oauth_settings.py", OAUTH_SETTINGS)
    project.write("repository_pages.py", REPOSITORY_PAGES)
    return project


def test_every_example_runs_here() -> None:
    assert sorted(EXAMPLES) == sorted(name for _, names in RUNS for name in names)


def test_view_of_the_examples_is_that_of_the_project() -> None:
    project_code = re.search(r"^def count\(.*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert project_code is not None
    from tests.sessions_kms.testing.suite_project import PAGES

    assert project_code[0].partition("```")[0].strip() in PAGES


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "examples"), RUNS)
def test_examples_pass_under_pytest(
    tmp_path: Path, settings: str, examples: tuple[str, ...]
) -> None:
    project = project_with(tmp_path, *examples)
    printed = require_success(project.pytest(f"--ds={settings}", "-Werror", "-rp"))
    assert {example for example in examples if f"PASSED {example}::" in printed} == {*examples}


@pytest.mark.slow
def test_example_of_unittest_passes_without_pytest(tmp_path: Path) -> None:
    printed = require_success(project_with(tmp_path, "test_members.py").manage("test"))
    assert "Ran 2 tests" in printed


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "examples"), RUNS)
def test_examples_need_their_time_to_pass(
    tmp_path: Path, settings: str, examples: tuple[str, ...]
) -> None:
    """Without `advance` they fail: they test what they seem to test."""
    project = project_with(tmp_path, *examples)
    for file in map(project.folder.joinpath, examples):
        file.write_text(re.sub(r"\S*store\.advance\(.*\)", "pass", file.read_text("utf-8")))
    done = project.pytest(f"--ds={settings}")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert [example for example in examples if f"FAILED {example}::" not in done.stdout] == []
