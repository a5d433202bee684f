"""`gateway_site.local.mcp_client` against the local stack, from nothing to an answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tests.e2e.signing_in import signed_in
from tests.e2e.stack import LocalStack
from tests.local.form import submit
from tests.support.processes import finished, lines_until, started

pytestmark = [pytest.mark.long, pytest.mark.stack]
REFRESH = re.compile(r'http-equiv="refresh" content="\d+;\s*url=([^"]+)"')


def consent(stack: LocalStack, address: str) -> None:
    """Allow it as ada, at the gateway and at the provider, and go back where the page leads."""
    with signed_in(stack) as browser:
        asked = browser.get(address, timeout=20)
        provider = submit(browser, asked, follow=True, decision="allow")
        back = submit(browser, provider, follow=True, action="grant")
        found = REFRESH.search(back.text)
        assert found is not None, back.text
        done = requests.get(urljoin(back.url, found[1].replace("&amp;", "&")), timeout=20)
        assert "Go back to the terminal" in done.text


@dataclass
class Example:
    """The program as a person has it: their stack, and their folder of states."""

    stack: LocalStack
    home: Path
    upstream: str = "demo"
    consent: Callable[[LocalStack, str], None] = consent

    def command(self, *options: str) -> list[str]:
        program = [
            sys.executable,
            "-m",
            "gateway_site.local.mcp_client",
            f"{self.stack.url}/gateway/{self.upstream}",
        ]
        return [*program, "--no-browser", *options]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home)}

    def signing_in(self, *options: str) -> str:
        """Run it, consent where it says, and return what it prints."""
        with started(
            self.command(*options),
            self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            line = lines_until(process, "Sign in at ")[-1]
            self.consent(self.stack, line.split()[-1])
            assert process.stdout is not None
            said = process.stdout.read()
            assert process.wait(60) == 0, said
        return said

    def call(self, *options: str) -> str:
        """Run it where nobody is there to consent."""
        answer = finished(self.command(*options), self.environment)
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr == ""
        return answer.stdout

    @property
    def kept(self) -> Path:
        (file,) = (self.home / ".local" / "state" / "gateway-example").iterdir()
        return file


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
    answer = finished(example.command(), example.environment)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert "connect" in line.lower()
