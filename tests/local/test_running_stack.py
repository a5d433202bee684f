"""Commands find the running local stack, and use no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_site.local.state import (
    acquire_lock,
    is_locked,
    publish_variables,
    use_running_stack,
    withdraw_variables,
)
from tests import ROOT

TOLD = {"KMS_KEY_ARN": "arn:local", "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:3"}
BARE = {"PATH": "/bin", "DJANGO_SETTINGS_MODULE": "gateway_site.settings"}


def test_command_without_a_configuration_gets_that_of_the_running_stack(tmp_path: Path) -> None:
    with acquire_lock(tmp_path):
        publish_variables(tmp_path, TOLD)
        environment = dict(BARE)
        assert use_running_stack(environment, tmp_path)
    assert environment == BARE | TOLD


NAMES = "AWS_PROFILE AWS_ACCESS_KEY_ID AWS_ENDPOINT_URL AWS_ROLE_ARN KMS_KEY_ARN SESSIONS_TABLE"
OTHER_NAMES = "DATABASE_URL DJANGO_SECRET_KEY"


@pytest.mark.parametrize("variable", [*NAMES.split(), *OTHER_NAMES.split()])
def test_command_that_names_anything_of_another_stack_is_left_alone(
    tmp_path: Path, variable: str
) -> None:
    with acquire_lock(tmp_path):
        publish_variables(tmp_path, TOLD)
        environment = BARE | {variable: "theirs"}
        assert not use_running_stack(environment, tmp_path)
    assert environment == BARE | {variable: "theirs"}


@pytest.mark.parametrize(
    "variable", ["AWS_REGION", "AWS_CA_BUNDLE", "AWS_PAGER", "AWS_CLI_AUTO_PROMPT"]
)
def test_harmless_variable_does_not_hide_the_running_stack(tmp_path: Path, variable: str) -> None:
    with acquire_lock(tmp_path):
        publish_variables(tmp_path, TOLD)
        assert use_running_stack(BARE | {variable: "eu-west-1"}, tmp_path)


def test_other_project_is_left_alone(tmp_path: Path) -> None:
    with acquire_lock(tmp_path):
        publish_variables(tmp_path, TOLD)
        environment = {"DJANGO_SETTINGS_MODULE": "somebody.elses"}
        assert not use_running_stack(environment, tmp_path)


def test_stack_that_was_killed_is_not_found_though_its_file_is_there(tmp_path: Path) -> None:
    acquire_lock(tmp_path).close()
    publish_variables(tmp_path, TOLD)
    environment = dict(BARE)
    assert not use_running_stack(environment, tmp_path)
    assert environment == BARE


def test_stack_that_is_still_starting_is_not_found(tmp_path: Path) -> None:
    with acquire_lock(tmp_path):
        publish_variables(tmp_path, TOLD)
        withdraw_variables(tmp_path)
        assert not use_running_stack(dict(BARE), tmp_path)


def test_checking_the_lock_does_not_prevent_a_start(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with acquire_lock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    acquire_lock(tmp_path).close()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Using the running local stack ({state}).\n"),
        (
            {"AWS_PROFILE": "work", "DATABASE_URL": "sqlite:///x"},
            "Not using the running local stack ({state}). To use it, unset AWS_PROFILE,"
            " DATABASE_URL.\n",
        ),
        # The stack's own processes: this line would be wrong in their logs.
        ({"AWS_ACCESS_KEY_ID": "local", "GATEWAY_LOCAL": "1"}, ""),
    ],
)
def test_manage_py_prints_one_line_about_the_stack(
    tmp_path: Path, more: dict[str, str], said: str
) -> None:
    (tmp_path / "manage.py").write_bytes((ROOT / "manage.py").read_bytes())
    state = tmp_path / ".local"
    state.mkdir()
    with acquire_lock(state):
        publish_variables(state, TOLD)
        answer = subprocess.run(
            [sys.executable, "manage.py", "version"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | more,
            capture_output=True,
            text=True,
            check=True,
        )
    assert answer.stderr == said.format(state=state)
