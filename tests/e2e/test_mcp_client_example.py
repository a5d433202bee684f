"""`gateway_site.local.mcp_client` against the local stack, from nothing to a response."""

import json
from pathlib import Path

import pytest

from tests.e2e.mcp_client_example import Example
from tests.e2e.stack import LocalStack
from tests.support.processes import run_to_end

pytestmark = [pytest.mark.long, pytest.mark.stack]


def test_example_signs_in_once_and_continues_after_kill_9_and_after_token_expiry(
    tmp_path: Path,
) -> None:
    stack = LocalStack(tmp_path / "state")
    example = Example(stack, tmp_path / "home")
    with stack.running():
        first = json.loads(example.signing_in("--tool", "whoami"))
        assert (first["name"], first["token"].split(",")[0]) == ("Ada Lovelace", "the provider's")
        assert example.kept.stat().st_mode & 0o777 == 0o600
        assert example.kept.parent.stat().st_mode & 0o777 == 0o700

        stack.kill_everything()
        stack.start()
        assert json.loads(example.call("--tool", "whoami")) == first
        counted = example.call("--tool", "count", "--arguments", '{"to": 2}')
        assert counted == "1 of 2\n2 of 2\nCounted to 2.\n"

        before = json.loads(example.kept.read_text(encoding="utf-8"))
        example.kept.write_text(json.dumps(before | {"expires_at": 1}), encoding="utf-8")
        assert json.loads(example.call("--tool", "whoami")) == first
        after = json.loads(example.kept.read_text(encoding="utf-8"))
        assert after["tokens"]["refresh_token"] != before["tokens"]["refresh_token"]


def test_example_prints_a_fault_in_one_line(tmp_path: Path) -> None:
    example = Example(LocalStack(tmp_path / "state"), tmp_path / "home")
    response = run_to_end(example.command(), example.environment)
    assert response.returncode == 1
    (line,) = response.stderr.splitlines()
    assert "connect" in line.lower()
