"""A whole gateway on a DynamoDB and a KMS: workers, rotation, kill -9, a full disk, both commands.

Calls without a session are enough: rejected ones are events as well.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import requests

from sessions_kms.operations import provisioning
from tests.gateway_site.server.starting import environment
from tests.support.local_kms import running_kms
from tests.support.processes import free_port, module, run_to_end, running
from tests.support.roto import running_roto
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long
# `kms-gateway serve` with a disk that hangs while there is a pipe with its name.
HANGING = """
import os, sys
from gateway_site import server
from gateway_site.audit.audit_file import AuditFile
def hang(self, lines, append=AuditFile.append):
    if os.path.exists({disk!r}):
        os.close(os.open({disk!r}, os.O_RDONLY))
    append(self, lines)
AuditFile.append = hang
if __name__ == "__main__":
    server.run(sys.argv[1:], program="serve")
"""
REGION = "eu-west-1"


@dataclass
class Site:
    """A site's environment and its log."""

    environment: dict[str, str]
    log: Path

    @contextmanager
    def serving(self, *options: str, program: Path | None = None) -> Iterator[Server]:
        port = free_port()
        serve = [sys.executable, str(program)] if program else module("gateway_site", "serve")
        command = [*serve, "--port", str(port), *options]
        with running(command, self.environment, self.log.with_name("output"), port) as process:
            try:
                yield Server(process, port)
            finally:
                with suppress(psutil.NoSuchProcess):  # it has ended
                    for child in psutil.Process(process.pid).children(recursive=True):
                        child.kill()

    def command(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run a command that prints JSON; return its status and the object."""
        done = run_to_end(module("gateway_site", *arguments, "--json"), self.environment)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def verify(self, *arguments: str) -> tuple[list[str], dict[str, Any]]:
        """Return the faults, and the writers."""
        _, found = self.command("verify_audit", *arguments)
        return [each["fault"] for each in found["faults"]], found["writers"]

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"}")]

    def call_both_workers(self, server: Server) -> None:
        """Call until the current file has a call of each worker."""

        def is_done() -> bool:
            assert server.call() == 401
            return len({each["writer"] for each in self.events() if each["event"] == "call"}) == 2

        wait_until(is_done, "both workers have served a call", 60)

    def wait_for(self, count: int, **members: Any) -> list[dict[str, Any]]:
        """Wait until the log has so many events with these members; return them."""

        def find() -> list[dict[str, Any]]:
            return [each for each in self.events() if members.items() <= each.items()]

        wait_until(lambda: len(find()) >= count, f"{count} events with {members}", 60)
        return find()


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int

    def call(self) -> int:
        url = f"http://127.0.0.1:{self.port}/gateway/echo/x?secret=1"
        return requests.get(url, timeout=20, allow_redirects=False).status_code

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) is not None


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """Run DynamoDB and KMS with a table and both keys; yield the variables for them."""
    with running_roto() as dynamodb, running_kms() as kms:
        variables = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
            "AWS_ENDPOINT_URL_KMS": kms.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SESSIONS_TABLE": "sessions",
        }
        session = boto3.Session("testing", "testing", region_name=REGION)
        list(
            provisioning.create_table(session.client("dynamodb", endpoint_url=dynamodb), "sessions")
        )
        client = session.client("kms", endpoint_url=kms.url)
        variables["KMS_KEY_ARN"] = client.create_key()["KeyMetadata"]["Arn"]
        made = client.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
        variables["AUDIT_KEY_ARN"] = made["KeyMetadata"]["Arn"]
        yield variables


@pytest.fixture
def site(tmp_path: Path, aws: Mapping[str, str], request: pytest.FixtureRequest) -> Site:
    log = tmp_path / "log" / "audit.jsonl"
    log.parent.mkdir()
    more = {
        "AUDIT_FILE": str(log),
        "SESSIONS_NAMESPACE": request.node.name[:40].replace("[", "-").replace("]", ""),
        "OAUTH_CORP_CLIENT_ID": "gateway",
        "OAUTH_CORP_CLIENT_SECRET": "secret",
        "OAUTH_CORP_ISSUER": "http://127.0.0.1:1",
        "OAUTH_CORP_ALLOWED_DOMAINS": "*",
        "UPSTREAM_ECHO_URL": "http://127.0.0.1:1",
        "UPSTREAM_ECHO_PROVIDER": "corp",
    }
    return Site(environment(tmp_path, **aws, **more), log)


def test_workers_write_a_chain_each_through_rotation_restart_and_end(site: Site) -> None:
    with site.serving("--workers", "2", "--timeout-worker-healthcheck", "120") as server:
        first = {each["writer"] for each in site.wait_for(2, event="checkpoint")}
        assert len(first) == 2
        site.call_both_workers(server)
        site.log.rename(site.log.with_name("audit.jsonl.1"))
        site.call_both_workers(server)
        # SIGHUP replaces the workers, one after the other.
        server.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: len({each["writer"] for each in site.wait_for(2, is_last=True)}) == 2,
            "both workers have ended",
            90,
        )
        assert server.call() == 401
        server.stop()
    faults, writers = site.verify()
    assert faults == []
    assert len(writers) == 4
    assert all(each["ended"] for each in writers.values()), writers
    assert "secret=1" not in site.log.read_text() + site.log.with_name("audit.jsonl.1").read_text()
    # Without the rotated file, the beginnings are missing.
    faults, _ = site.verify(str(site.log))
    assert any("are missing" in each for each in faults)


def test_killed_process_is_known_and_its_end_is_uncertain(site: Site) -> None:
    with site.serving() as server:
        site.wait_for(1, event="checkpoint")
        server.call()
        site.wait_for(1, event="call")
        server.process.kill()
        server.process.wait()
    [killed] = {each["writer"] for each in site.events()}
    faults, writers = site.verify()
    assert faults == []
    assert writers[killed]["ended"] is False
    assert writers[killed]["complete_up_to"] == 2
    # A second process starts, and continues after half a line.
    with site.log.open("ab") as file:
        file.write(b'{"writer":"' + killed.encode() + b'","num')
    with site.serving() as server:
        site.wait_for(2, event="checkpoint")
        server.stop()
    faults, writers = site.verify()
    assert faults == []
    assert len(writers) == 2
    # Somebody removes the killed process from the file.
    lines = [line for line in site.log.read_bytes().splitlines() if killed.encode() not in line]
    site.log.write_bytes(b"\n".join(lines) + b"\n")
    status, found = site.command("verify_audit")
    assert status == 1
    assert any(each["writer"] == killed for each in found["faults"])
    site.log.unlink()
    done = run_to_end(module("gateway_site", "verify_audit"), site.environment)
    assert done.returncode == 1
    assert "no audit log" in done.stderr


def test_full_disk_rejects_calls_until_there_is_space(site: Site) -> None:
    with site.serving() as server:
        site.wait_for(1, event="checkpoint")
        size = site.log.stat().st_size
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 100, before[1]))
        wait_until(lambda: server.call() == 503, "calls are rejected")
        assert site.log.stat().st_size == size, "part of a line was left"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        wait_until(lambda: server.call() == 401, "calls are admitted")
        server.stop()
    faults, [writer] = site.verify()[0], site.verify()[1].values()
    assert faults == []
    assert writer["ended"]
    statuses = [each["status"] for each in site.wait_for(1, event="call")]
    assert {401, 503} == set(statuses)


def test_disk_that_hangs_rejects_calls_and_does_not_delay_the_end(site: Site) -> None:
    """Each write waits as for a disk: it opens a pipe that nobody opens for writing."""
    disk, program, output = map(site.log.with_name, ("disk", "serve.py", "output"))
    program.write_text(HANGING.format(disk=str(disk)))
    with site.serving(program=program) as server:
        site.wait_for(1, event="checkpoint")
        os.mkfifo(disk)
        assert server.call() == 401, "nobody knows yet"
        wait_until(lambda: server.call() == 503, "calls are rejected", 60)
        line = "The audit log cannot be written: an event has waited"
        wait_until(lambda: line in output.read_text(), "it says why")
        with disk.open("wb"):
            disk.unlink()
            wait_until(lambda: server.call() == 401, "calls are admitted", 60)
        os.mkfifo(disk)
        server.call()
        server.stop()
    assert output.read_text().count(line) == 1
    assert "The audit log is incomplete" in output.read_text()
    faults, [writer] = site.verify()[0], site.verify()[1].values()
    assert faults == []
    assert not writer["ended"]


def test_calls_are_made_although_the_disk_is_full_if_the_operator_says_so(site: Site) -> None:
    site.environment["AUDIT_ON_FULL"] = "drop"
    with site.serving() as server:
        site.wait_for(1, event="checkpoint")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (site.log.stat().st_size, -1))
        assert {server.call() for _ in range(5)} == {401}
        server.process.kill()
        server.process.wait()


def test_exposure_names_people_of_the_period_and_fails_without_a_log(site: Site) -> None:
    with site.serving() as server:
        site.wait_for(1, event="checkpoint")
        server.stop()
    now = datetime.now(UTC)
    period = ["--from", (now - timedelta(hours=1)).isoformat(), "--to", now.isoformat()]
    status, found = site.command("exposure", *period)
    assert status == 0
    assert found["at_least"] == []
    assert found["with_kms_alone"]
    assert found["in_no_log"]
    del site.environment["AUDIT_FILE"]
    done = run_to_end(module("gateway_site", "exposure", *period), site.environment)
    assert done.returncode == 1
    assert "There is no audit log" in done.stderr


def test_command_that_changes_rights_has_its_own_chain(site: Site) -> None:
    run_to_end(module("gateway_site", "migrate"), site.environment)
    grant = ["staff", "grant", "--provider", "corp", "--subject", "7", "--no-input"]
    done = run_to_end(module("gateway_site", *grant), site.environment)
    assert done.returncode == 0, done.stderr
    [event] = site.wait_for(1, event="rights_changed")
    assert (event["by"], event["is_staff"]) == ("the command staff", True)
    faults, writers = site.verify()
    assert faults == []
    assert [each["ended"] for each in writers.values()] == [True], done.stderr
