"""docs/guides/rotate.md, followed while a person stays signed in at two processes."""

import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest

from tests import ROOT
from tests.guides.balancer import HOME, Balancer, browse
from tests.guides.gateway_on_aws import bringing_along
from tests.guides.page import Change, Command, read_steps
from tests.guides.person import TIMEOUT, sign_in
from tests.guides.runner import Reader
from tests.support.processes import free_ports, is_listening
from tests.support.waiting import wait_until

BEFORE = ROOT / "docs/guides/api-on-aws.md"
GUIDE = ROOT / "docs/guides/rotate.md"
SERVE = "set -a && . ./gateway.env && exec venv/bin/kms-gateway serve --port {} >> gateway.log 2>&1"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
]


class Fleet:
    """Two processes of the gateway, and a browser whose requests go to both in turn."""

    def __init__(self, folder: Path, variables: Mapping[str, str], ports: list[int]) -> None:
        self.folder, self.variables = folder, variables
        self.processes: dict[int, subprocess.Popen[bytes] | None] = dict.fromkeys(ports)
        self.browser = browse(ports[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()
        for port in self.processes:
            self.stop(port)

    def deploy(self) -> None:
        """Restart one process after the other; the person is signed in at both all the time."""
        for port in self.processes:
            self.stop(port)
            self.start(port)
            self.expect_signed_in()

    def start(self, port: int) -> None:
        command = ["bash", "-c", SERVE.format(port)]
        self.processes[port] = subprocess.Popen(command, cwd=self.folder, env=self.variables)
        wait_until(lambda: is_listening(port), f"port {port} answers", 60)

    def stop(self, port: int) -> None:
        if process := self.processes[port]:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.processes[port] = None

    def expect_signed_in(self) -> None:
        for port in self.processes:
            self.browser.mount(HOME, Balancer(port))
            response = self.browser.get(f"{HOME}/gateway/orders/latest", timeout=TIMEOUT)
            assert response.status_code == 200, response.text


def read_variable(reader: Reader, name: str) -> str:
    text = (reader.folder / "gateway.env").read_text(encoding="utf-8")
    [value] = re.findall(f"^{name}=(.*)$", text, re.MULTILINE)
    return str(value)


def name_keys(reader: Reader) -> None:
    """Have the guide's names of new keys mean what its commands printed."""
    printed = reader.printed[-1]
    if found := re.search(r"created key arn:\S+(key/\S+)", printed):
        reader.own = {**reader.own, "key/new": found[1]}
    elif "new-key" not in reader.own:
        reader.own = {**reader.own, "new-key": printed.strip()}


def test_person_stays_signed_in_while_both_keys_are_rotated(
    reader: Reader, variables: dict[str, str], tmp_path: Path
) -> None:
    ports = free_ports(2)
    with bringing_along(tmp_path, ports[0]) as own, Fleet(reader.folder, variables, ports) as fleet:
        reader.own = own
        reader.follow(BEFORE)
        reader.terminal.run("kill %1; wait")
        old = read_variable(reader, "KMS_KEY_ARN").rpartition(":")[2]
        secret = read_variable(reader, "DJANGO_SECRET_KEY")
        reader.own = {**own, "key/old": old, "old-key": secret}
        for port in ports:
            fleet.start(port)
        sign_in(fleet.browser, HOME)
        for step in read_steps(GUIDE.read_text(encoding="utf-8")):
            reader.take(step, GUIDE.name)
            if isinstance(step, Command):
                name_keys(reader)
            if isinstance(step, Change):
                fleet.deploy()
        fleet.deploy()  # nothing is cached: the old KMS key is disabled
