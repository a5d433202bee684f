"""The README's environment is complete: the gateway starts with exactly its lines."""

import os
import re
import secrets
import signal
import sys
from pathlib import Path

import pytest
import requests

from tests import ROOT
from tests.conftest import AWS_ENVIRONMENT
from tests.deploy_check import PRODUCTION
from tests.support.processes import free_port, module, run_to_end, running


def lines() -> dict[str, str]:
    """Return the variables, without the comments beside them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"environment variables\n\n```\n(.*?)```", text, re.DOTALL)
    pairs = (line.partition(" #")[0].strip().partition("=") for line in block.splitlines())
    return {name: value for name, _, value in pairs}


def environment(folder: Path) -> dict[str, str]:
    """Return them with what a reader puts in place of each ellipsis, and with nothing else."""
    filled_in = {
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),  # as the comment beside it says
        "DATABASE_URL": f"sqlite:///{folder}/gateway.sqlite3",
        "KMS_KEY_ARN": PRODUCTION["KMS_KEY_ARN"],
        "OAUTH_GITHUB_CLIENT_ID": "id",
        "OAUTH_GITHUB_CLIENT_SECRET": "secret",
    }
    given = lines()
    assert {name for name, value in given.items() if "…" in value} == set(filled_in)
    return {**given, **filled_in, "PATH": os.environ["PATH"]}


@pytest.mark.slow
def test_gateway_starts_and_checks_find_no_error(tmp_path: Path) -> None:
    env = environment(tmp_path)
    for command in (["migrate", "--verbosity", "0"], ["check", "--deploy"]):
        done = run_to_end([sys.executable, "manage.py", *command], env)
        assert done.returncode == 0, done.stderr
        assert " INFO " not in done.stdout + done.stderr
    env |= AWS_ENVIRONMENT  # where AWS does not answer: that is an outage
    port = free_port()
    serve = module("gateway_site.server", "--port", str(port))
    with running(serve, env, tmp_path / "log", port) as process:
        headers = {"Host": "gateway.example.com", "X-Forwarded-Proto": "https"}
        ready = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=30)
        page = requests.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=30)
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert (ready.status_code, page.status_code) == (200, 200)
    assert "GitHub" in page.text


def test_short_secret_key_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"DJANGO_SECRET_KEY": "x" * 49}
    done = run_to_end([sys.executable, "manage.py", "check"], env)
    assert done.returncode != 0
    assert "DJANGO_SECRET_KEY has 49 characters. Use at least 50" in done.stderr
    assert "x" * 49 not in done.stderr
