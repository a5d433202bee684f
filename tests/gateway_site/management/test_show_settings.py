"""`show_settings`: what the gateway read of its environment, without a secret in the output."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway_site.environment.variable import Configuration
from gateway_site.management.commands import show_settings
from gateway_site.variables import GENERAL
from tests.support.processes import run_to_end

SECRET = "a-secret-that-nobody-may-see-" + "x" * 40
COMPLETE = {
    "ALLOWED_HOSTS": "gateway.example",
    "DATABASE_URL": f"postgres://user:{SECRET}@db.example/gateway",
    "DJANGO_SECRET_KEY": SECRET,
    "KMS_KEY_ARN": "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000000",
    "OAUTH_CORP_ALLOWED_DOMAINS": "example.com",
    "OAUTH_CORP_CLIENT_ID": "gateway",
    "OAUTH_CORP_CLIENT_SECRET": SECRET,
    "OAUTH_CORP_ISSUER": "https://corp.example",
    "SESSIONS_TABLE": "sessions",
    "UPSTREAM_API_PROVIDER": "corp",
    "UPSTREAM_API_URL": "https://api.example/v1",
}


def run(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that has these variables alone."""
    command = [sys.executable, "manage.py", "show_settings", *options]
    return run_to_end(command, {"PATH": os.environ["PATH"], **environment})


def list_settings(environment: dict[str, str]) -> dict[str, show_settings.Setting]:
    return {each.name: each for each in show_settings.list_settings(Configuration(environment))}


@pytest.mark.slow
def test_a_complete_environment_is_shown_without_a_secret() -> None:
    done = run(COMPLETE, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert SECRET not in done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["problems"] == []
    shown = {each["name"]: (each["value"], each["source"]) for each in found["settings"]}
    assert shown["SESSIONS_TABLE"] == ("sessions", "variable")
    assert shown["DJANGO_SECRET_KEY"] == ("********", "variable")
    assert shown["OAUTH_CORP_CLIENT_SECRET"] == ("********", "variable")
    assert shown["UPSTREAM_API_URL"] == ("https://api.example/v1", "variable")
    assert shown["DATA_KEY_CACHE_AGE"] == ("300", "default")
    assert set(GENERAL) <= set(shown)


@pytest.mark.slow
def test_what_stops_the_settings_is_listed_all_at_once() -> None:
    changed = {"SESSIONS_TABEL": "x", "DATA_KEY_CACHE_AGE": "soon", "OAUTH_HR_ISSUER": "https://hr"}
    done = run({**COMPLETE, **changed}, "--set")
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert done.stderr.splitlines() == [
        "DATA_KEY_CACHE_AGE must be a whole number of seconds, at least 1 and at most 86,400.",
        "OAUTH_HR_ISSUER has no effect: OAUTH_HR_CLIENT_ID is not set.",
        "SESSIONS_TABEL is not a known variable. Did you mean SESSIONS_TABLE? "
        "`manage.py docs settings` lists all variables.",
    ]
    assert "(default)" not in done.stdout


@pytest.mark.slow
def test_missing_variables_are_named() -> None:
    without = {name: text for name, text in COMPLETE.items() if name != "SESSIONS_TABLE"}
    done = run(without, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == ["SESSIONS_TABLE is not set."]


def test_a_secret_in_a_file_is_shown_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET, encoding="utf-8")
    found = list_settings({"DJANGO_SECRET_KEY_FILE": str(file)})["DJANGO_SECRET_KEY"]
    assert (found.value, found.source, found.problem) == ("********", str(file), "")


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    path = str(tmp_path / "key")
    found = list_settings({"DJANGO_SECRET_KEY_FILE": path})["DJANGO_SECRET_KEY"]
    assert found.source == path
    assert found.problem.startswith("DJANGO_SECRET_KEY_FILE: file not found.")


@pytest.mark.parametrize("name", [name for name, each in GENERAL.items() if each.secret])
def test_a_secret_that_cannot_be_used_is_masked_all_the_same(name: str) -> None:
    found = list_settings({name: "\x00not-a-valid-one\x00"})[name]
    assert "not-a-valid-one" not in repr(found)


def test_a_value_cannot_write_to_the_terminal() -> None:
    found = list_settings({"SITE_NAME": "Gate\x1b[2Jway"})["SITE_NAME"]
    assert found.value == r"'Gate\x1b[2Jway'"
