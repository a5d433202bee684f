"""Commands find the running local stack, and use no other."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway_site.local.state import (
    NotPrivateError,
    acquire_lock,
    is_locked,
    is_private,
    make_private_folder,
    publish_variables,
    use_running_stack,
    withdraw_variables,
)
from tests import ROOT
from tests.support.processes import run_to_end

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


@pytest.mark.slow
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
    """As with the option of `kms-gateway`, which may be written here too."""
    with running_stack(tmp_path) as state:
        for options in ((), ("--local",)):
            response = command(tmp_path, str(ROOT / "manage.py"), *options, "version", **more)
            assert (response.stderr, response.returncode) == (said.format(state=state), 0)


@contextmanager
def running_stack(folder: Path) -> Iterator[Path]:
    """Make a folder look as if a stack ran there; return the state folder."""
    state = make_private_folder(folder / ".local")
    with acquire_lock(state):
        publish_variables(state, TOLD)
        yield state


def command(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | more
    return run_to_end([sys.executable, *arguments], env, cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "is_used"), [((), False), (("--local",), True), (("version", "--local"), False)]
)
def test_installed_command_uses_the_running_stack_only_if_it_is_told_to(
    tmp_path: Path, options: tuple[str, ...], *, is_used: bool
) -> None:
    with running_stack(tmp_path):
        response = command(tmp_path, "-m", "gateway_site", *options, "version")
    assert ("Using the running local stack" in response.stderr) == is_used


@pytest.mark.slow
def test_stack_of_a_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    with running_stack(tmp_path) as state:
        state.chmod(0o750)
        response = command(tmp_path, "-m", "gateway_site", "--local", "version")
    assert response.stderr == (
        f"Not using the local stack ({state}): the folder must be yours, with mode 0700.\n"
    )


@pytest.mark.slow
def test_stack_behind_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with running_stack(tmp_path / "theirs") as state:
        (tmp_path / ".local").symlink_to(state)
        response = command(tmp_path, "-m", "gateway_site", "--local", "version")
    assert response.stderr.startswith("Not using the local stack")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_stack_of_another_user_is_not_used(tmp_path: Path) -> None:
    with running_stack(tmp_path) as state:
        os.chown(state, 12345, 12345)
        assert not is_private(state)
        response = command(tmp_path, "-m", "gateway_site", "--local", "version")
        assert response.stderr.startswith("Not using the local stack")
        with pytest.raises(NotPrivateError):
            make_private_folder(state)
        os.chown(state / "variables.json", 12345, 12345)
        assert not use_running_stack(dict(BARE), state)
