"""Tests that would store sessions in a table elsewhere are warned; the kit runs in tests only."""

from pathlib import Path

import pytest

from sessions_kms.aws.remote_table import is_loopback
from tests.sessions_kms.testing.suite_project import SuiteProject, require_success
from tests.support.cases import each_case

REAL_ENGINE = """
SESSION_ENGINE = "sessions_kms.backend"
SESSIONS_KMS["REGION_NAME"] = "eu-west-1"
"""
# Nothing listens at these addresses, so nothing is sent; the first one is a public name.
REMOTE, LOCAL = "https://dynamodb.invalid", "http://127.0.0.1:9"
CASE = """
import warnings
from importlib import import_module

from django.conf import settings
from django.test import TestCase


class Test(TestCase):
    def test_session(self):
        from sessions_kms import StoreUnavailable
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        with warnings.catch_warnings(record=True) as caught, self.assertRaises(StoreUnavailable):
            warnings.simplefilter("always")
            session.save()
        print("WARNED", *[each.message for each in caught], "end")
"""
USE = """
import django
django.setup()
from importlib import import_module
from django.conf import settings
import_module(settings.SESSION_ENGINE).SessionStore().save()
print("saved")
"""


@pytest.fixture
def project(tmp_path: Path) -> SuiteProject:
    return SuiteProject(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("endpoint", "is_warned"), [(REMOTE, True), (LOCAL, False)])
@pytest.mark.parametrize("runner", ["django", "pytest"])
def test_table_that_is_not_on_this_machine(
    project: SuiteProject, endpoint: str, is_warned: bool, runner: str
) -> None:
    project.write("settings.py", REAL_ENGINE)
    project.write("test_case.py", CASE)
    variables = {"AWS_ENDPOINT_URL": endpoint}
    if runner == "django":
        printed = require_success(project.manage("test", **variables))
        assert ("(sessions_kms.W011)" in printed) == is_warned
    else:
        printed = require_success(project.pytest("-s", **variables))
    sentence = "WARNED Tests use the DynamoDB table sessions at dynamodb.invalid, which is not"
    assert (sentence in printed) == is_warned
    assert ("WARNED end" in printed) == (not is_warned)


@pytest.mark.slow
@pytest.mark.parametrize("moto", ["", "import moto\n"])
def test_process_that_runs_no_tests_is_not_warned(project: SuiteProject, moto: str) -> None:
    project.write("settings.py", REAL_ENGINE)
    done = project.python(
        "-Werror", "-c", moto + USE, DJANGO_SETTINGS_MODULE="settings", AWS_ENDPOINT_URL=REMOTE
    )
    assert "The session table cannot be used at the moment." in done.stderr
    assert "RemoteTableWarning" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["PYTEST_VERSION", "PYTEST_CURRENT_TEST"])
def test_process_that_a_test_of_pytest_starts_is_warned(
    project: SuiteProject, variable: str
) -> None:
    project.write("settings.py", REAL_ENGINE)
    variables = {"DJANGO_SETTINGS_MODULE": "settings", "AWS_ENDPOINT_URL": REMOTE, variable: "x"}
    assert "RemoteTableWarning: Tests use" in project.python("-c", USE, **variables).stderr


@pytest.mark.slow
def test_kit_outside_of_tests_stores_nothing_and_is_an_error(project: SuiteProject) -> None:
    used = project.python("-c", USE, DJANGO_SETTINGS_MODULE="settings")
    assert "ImproperlyConfigured: SESSION_ENGINE is 'sessions_kms.testing.backend'" in used.stderr
    assert "saved" not in used.stdout
    checked = project.manage("check")
    assert checked.returncode == 1
    assert "(sessions_kms.E022) SESSION_ENGINE is 'sessions_kms.testing.backend'" in checked.stderr


@pytest.mark.slow
def test_kit_may_be_tried_with_debug(project: SuiteProject) -> None:
    project.write("settings.py", "DEBUG = True\n")
    assert "saved" in require_success(project.python("-c", USE, DJANGO_SETTINGS_MODULE="settings"))
    assert "E022" not in require_success(project.manage("check"))


@each_case(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.8.8.8", True),
        ("http://localhost:4566", True),
        ("http://dynamodb.localhost", True),
        ("http://[::1]:8000", True),
        ("https://dynamodb.eu-west-1.amazonaws.com", False),
        ("http://10.0.0.7:8000", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://[2001:db8::1]:8000", False),
        ("", False),
    ],
)
def test_endpoint_is_on_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) == expected
