"""Starts the gateway's server as a process, and connects to it."""

import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests import ROOT
from tests.deploy_check import PRODUCTION
from tests.support.processes import free_ports, running

DESCRIPTORS = 300

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

PAGE = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

WORKING = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nh"


def command(port: int, *more: str) -> list[str]:
    """Return the command of docs/aws.md, for this machine."""
    text = (ROOT / "docs/aws.md").read_text(encoding="utf-8").replace("\\\n", " ")
    [line] = re.findall(r"^kms-gateway serve .*$", text, re.MULTILINE)
    line = line.replace("0.0.0.0", "127.0.0.1").replace("8000", str(port))  # noqa: S104
    started = shlex.join([sys.executable, "-m", "gateway_site", *shlex.split(line)[1:], *more])
    return ["sh", "-c", f"ulimit -n {DESCRIPTORS}; exec {started}"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "GATEWAY_LOCAL": "1",
        "DJANGO_SECRET_KEY": "tests-only" * 5,
        "DATABASE_URL": f"sqlite:///{folder}/gateway.sqlite3",
        "AWS_REGION": "eu-west-1",
        **more,
    }


class Started:
    """A process, and raw connections to it from whichever address on loopback."""

    def __init__(self, port: int, process: psutil.Process, log: Path) -> None:
        self.port = port
        self.log = log
        self.process = process
        self.clients: list[socket.socket] = []

    def connect(self, sent: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(
            ("127.0.0.1", self.port), timeout=20, source_address=(source, 0)
        )
        self.clients.append(client)
        client.sendall(sent)
        return client

    def hang_up(self) -> None:
        while self.clients:
            self.clients.pop().close()


@contextmanager
def start(folder: Path, *more: str, **variables: str) -> Iterator[Started]:
    [port] = free_ports(1)
    env = environment(folder, **variables)
    with running(command(port, *more), env, folder / "log", port) as process:
        started = Started(port, psutil.Process(process.pid), folder / "log")
        try:
            yield started
        finally:
            started.hang_up()
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def production_environment(folder: Path, **more: str) -> dict[str, str]:
    return environment(
        folder,
        **{
            "KMS_KEY_ARN": PRODUCTION["KMS_KEY_ARN"],
            "SESSIONS_TABLE": "sessions",
            "LOG_FORMAT": "json",
            **more,
        },
    )
