"""System checks: each fault alone under its own id, and a clear `manage.py check`."""

import os
import re
import subprocess
import time
from http import cookies
from pathlib import Path

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import checks as django_checks
from pytest_django import Settings

from sessions_kms import checks, conf, services
from tests import ROOT
from tests.sessions_kms.support.provoked_checks import (
    GOOD,
    OF_PYTHON,
    OF_REGION,
    OF_TESTS,
    PROVOKED,
    SESSIONS,
)
from tests.support.processes import module, run_to_end

IN_ORDER = [checks.MIDDLEWARE, SESSIONS]


class OwnSessions(SessionMiddleware):
    """A project's own."""


@pytest.fixture(autouse=True)
def good(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cookies, "_OctalPatt", raising=False)
    settings.SESSIONS_KMS = GOOD
    settings.SESSION_ENGINE = checks.ENGINE
    settings.MIDDLEWARE = IN_ORDER
    settings.SESSION_COOKIE_AGE = 7 * 86400


def found_checks() -> list[django_checks.CheckMessage]:
    return [message for check in checks.CHECKS for message in check()]


def test_good_settings_have_no_fault() -> None:
    assert found_checks() == []


@pytest.mark.parametrize("name", PROVOKED)
def test_fault_is_reported_alone_under_its_id(name: str, settings: Settings) -> None:
    for setting, value in PROVOKED[name].items():
        setattr(settings, setting, value)
    (message,) = found_checks()
    assert message.id == f"sessions_kms.{name}"
    assert message.level == {"E": django_checks.ERROR, "W": django_checks.WARNING}[name[0]]
    assert message.msg[-1] in ".?"
    assert (message.hint or message.msg)[-1] in ".?"


def test_every_check_id_is_tested_here_and_defined_once() -> None:
    source = "".join(Path(module.__file__ or "").read_text() for module in (checks, conf))
    ids = re.findall(r'"(?:sessions_kms\.)?([EW]\d{3})"', source)
    assert sorted(ids) == sorted([*PROVOKED, OF_PYTHON, OF_REGION, *OF_TESTS])


def test_python_that_decodes_cookies_slowly_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookies, "_OctalPatt", None, raising=False)
    (message,) = found_checks()
    assert message.id == f"sessions_kms.{OF_PYTHON}"
    assert message.level == django_checks.WARNING
    assert "CVE-2024-7592" in message.msg
    assert "3.11.10" in str(message.hint)


def test_missing_region_is_an_error_until_one_is_set_in_any_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    services.reset()
    (message,) = found_checks()
    assert (message.id, message.level) == (f"sessions_kms.{OF_REGION}", django_checks.ERROR)
    assert "AWS_REGION" in str(message.hint)
    settings.SESSIONS_KMS = GOOD | {"REGION_NAME": "eu-west-1"}
    assert found_checks() == []
    settings.SESSIONS_KMS = GOOD
    with monkeypatch.context() as patched:
        patched.setenv("AWS_REGION", "eu-west-1")
        assert found_checks() == []
    assert found_checks() != []
    profile = tmp_path / "config"
    profile.write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    services.reset()
    assert found_checks() == []


def test_checks_are_registered_as_security_checks() -> None:
    registered = django_checks.registry.registry.get_checks()
    assert set(checks.CHECKS) <= set(registered)
    assert {tag for check in checks.CHECKS for tag in check.tags} == {"security"}  # type: ignore[attr-defined]  # set by register


@pytest.mark.parametrize(
    "order",
    [
        [SESSIONS, checks.MIDDLEWARE],
        ["django.middleware.common.CommonMiddleware", SESSIONS],
        [f"{__name__}.OwnSessions", checks.MIDDLEWARE],
    ],
)
def test_middleware_missing_or_behind_the_sessions_is_warned_of(
    order: list[str], settings: Settings
) -> None:
    settings.MIDDLEWARE = order
    assert [message.id for message in found_checks()] == ["sessions_kms.W002"]


def test_project_without_session_middleware_is_not_warned(settings: Settings) -> None:
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "nowhere.Middleware"]
    assert found_checks() == []


def test_long_idle_timeout_is_right_without_an_absolute_one(settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 365 * 86400
    settings.SESSIONS_KMS = GOOD | {"ABSOLUTE_TIMEOUT": None}
    assert found_checks() == []


def test_old_engine_that_keeps_rows_is_right_while_moving_in(settings: Settings) -> None:
    settings.SESSION_ENGINE = "sessions_kms.moving_in"
    assert found_checks() == []


def test_old_engine_is_no_matter_once_nothing_is_taken_over(settings: Settings) -> None:
    settings.SESSIONS_KMS = GOOD | {"MIGRATE_FROM": "nowhere.sessions"}
    assert found_checks() == []


def test_moment_that_has_passed_is_not_warned_of(settings: Settings) -> None:
    settings.SESSIONS_KMS = GOOD | {"NOT_BEFORE": int(time.time()) - 1}
    assert found_checks() == []


# The tests run on any Python that is supported.
BARE = [
    'INSTALLED_APPS = ["sessions_kms"]',
    'SECRET_KEY = "x"',
    f'SILENCED_SYSTEM_CHECKS = ["sessions_kms.{OF_PYTHON}"]',
]


def manage_check(folder: Path, *lines: str) -> "subprocess.CompletedProcess[str]":
    """Run `manage.py check` of a project that has these lines of settings."""
    (folder / "bare_settings.py").write_text("\n".join([*BARE, *lines]))
    path = os.pathsep.join([str(folder), str(ROOT)])
    return run_to_end(
        module("django", "check", "--settings", "bare_settings"), os.environ | {"PYTHONPATH": path}
    )


def test_check_without_settings_lists_all_that_is_missing(tmp_path: Path) -> None:
    done = manage_check(tmp_path)
    assert done.returncode == 1
    assert "(sessions_kms.E001) Set SESSIONS_KMS to a dict with at least KEY_ID" in done.stderr
    assert "(sessions_kms.W001) SESSION_ENGINE is" in done.stderr
    assert "HINT: Set SESSION_ENGINE = 'sessions_kms.backend'." in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_empty_settings_names_both_required_ones(tmp_path: Path) -> None:
    done = manage_check(tmp_path, "SESSIONS_KMS = {}", f"SESSION_ENGINE = {checks.ENGINE!r}")
    assert done.returncode == 1
    assert "(sessions_kms.E003) SESSIONS_KMS['KEY_ID'] must be the ARN" in done.stderr
    assert "(sessions_kms.E004) SESSIONS_KMS['TABLE_NAME'] must be the name" in done.stderr
    assert "2 issues" in done.stderr
