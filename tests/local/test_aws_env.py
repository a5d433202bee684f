"""The script with which another project's shell uses the local stack, in real shells."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from gateway_site.local import environment, state
from gateway_site.local.environment import Secrets
from gateway_site.local.options import Ports
from tests.support.processes import run_to_end

SHELLS = [shell for shell in ("bash", "zsh", "ksh") if shutil.which(shell)]
DUMP = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
KEY = "arn:aws:kms:us-east-1:123456789012:key/local"
ODD = 'it\'s $HOME `id` "quoted"'
NOT_OURS = {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}  # a shell's own
BEFORE = {
    "AWS_PROFILE": "production",
    "AWS_SECRET_ACCESS_KEY": ODD,
    "AWS_ENDPOINT_URL": "https://dynamodb.eu-central-1.amazonaws.com",
    "KMS_KEY_ARN": "arn:aws:kms:eu-central-1:123456789012:key/real",
    "DATABASE_URL": "postgres://other.example/project",
    "DJANGO_SECRET_KEY": "the other project's",
}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    variables = environment.build_gateway(
        {}, Ports(), tmp_path, Secrets("the-secret-key" * 5, "the-client-secret")
    )
    path = tmp_path / "aws.env"
    path.write_text(
        state.build_aws_script(variables | {"KMS_KEY_ARN": KEY}, path), encoding="utf-8"
    )
    return path


def seen_variables(shell: str, commands: str) -> dict[str, str]:
    """Return the exports of a shell that started with BEFORE, after the commands."""
    variables = BEFORE | {"PATH": os.environ["PATH"]}
    response = run_to_end([shell, "-c", f"{commands}\n{DUMP}"], variables, is_fresh=True)
    assert (response.returncode, response.stderr) == (0, "")
    found: dict[str, str] = json.loads(response.stdout)
    return {name: value for name, value in found.items() if name not in NOT_OURS}


@pytest.mark.parametrize("shell", ["sh", *SHELLS])
def test_script_changes_only_aws_variables(shell: str, script: Path) -> None:
    found = seen_variables(shell, f". {script}")
    assert found["KMS_KEY_ARN"] == KEY
    assert {name for name in found if name.startswith("AWS_")} == set(
        environment.build_aws(Ports())
    )
    others = {"DATABASE_URL", "DJANGO_SECRET_KEY"}
    assert {name: found[name] for name in others} == {name: BEFORE[name] for name in others}
    assert "the-secret-key" not in script.read_text(encoding="utf-8")
    assert not {"SESSIONS_TABLE", "GATEWAY_LOCAL", "OAUTH_LOCAL_CLIENT_SECRET"} & set(found)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("times", [1, 2])
def test_off_restores_the_shells_variables(shell: str, times: int, script: Path) -> None:
    sourced = f". {script}\n" * times
    assert seen_variables(shell, f"{sourced}. {script} off\n. {script} off") == BEFORE


@pytest.mark.parametrize("shell", SHELLS)
def test_off_without_on_leaves_the_shell_alone(shell: str, script: Path) -> None:
    assert seen_variables(shell, f". {script} off") == BEFORE
