"""The example MCP client, run as a person runs it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests

from tests.e2e.signing_in import sign_in_by_requests
from tests.e2e.stack import LocalStack
from tests.local.form import submit
from tests.support.processes import lines_until, run_to_end, started

REFRESH = re.compile(r'http-equiv="refresh" content="\d+;\s*url=([^"]+)"')


def consent(stack: LocalStack, address: str) -> None:
    """Allow it as ada, at the gateway and at the provider, and go back where the page leads."""
    with sign_in_by_requests(stack) as browser:
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
        response = run_to_end(self.command(*options), self.environment)
        assert response.returncode == 0, response.stderr
        assert response.stderr == ""
        return response.stdout

    @property
    def kept(self) -> Path:
        (file,) = (self.home / ".local" / "state" / "gateway-example").iterdir()
        return file
