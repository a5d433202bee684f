"""A gateway and its upstreams as real processes, and a client that signs in with a cookie."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from tests import ROOT
from tests.support.keys import write_key
from tests.support.processes import free_ports, is_listening, module, started
from tests.support.waiting import wait_until

# A database file that stays open would not be missed when a test removes it.
OPTIONS = "timeout=30&conn_max_age=0"
LONG_ID = "listed-" * 20
CLIENTS = [
    {"client_id": each, "redirect_uris": ["http://127.0.0.1/callback"]} for each in ("own", LONG_ID)
]
# Those of lines 1 and 6 concern the first person, who is in the group.
RULES = f"""[[rule]]
action = "allow"
groups = ["sales"]
tools = ["search_*", "delete"]

[[rule]]
action = "deny"
clients = ["unverified"]
tools = ["delete"]

[[rule]]
action = "allow"
clients = ["own", "{LONG_ID}", "app.example"]
tools = ["export"]

[[rule]]
action = "allow"
clients = ["own"]
methods = ["tasks/get"]
"""
# In the file of pinned tools, beside one that the rules allow.
PINNED: list[dict[str, Any]] = [
    {"name": "first", "description": "The first.", "inputSchema": {"maximum": 1.5}},
    {"name": "second"},
]
TOKEN = "token-of-the-person"
ANOTHERS_TOKEN = "token-of-another-person"


@dataclass
class Gateway:
    """A running gateway, its upstreams, and sessions of one person; the last is another person's.

    ``end_grants`` end the grants, the oldest first.
    """

    port: int
    upstream_port: int
    mcp_port: int
    canned: CannedServer
    process: psutil.Process
    keys: list[str]
    log: Path
    end_grants: list[Callable[[], None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, number: int = 0) -> requests.Session:
        """Return a client that sends a session's cookie and, if it has one, the CSRF token."""
        client = requests.Session()
        client.trust_env = False
        client.cookies.set("gateway_sessionid", self.keys[number])
        return client

    def writer(self, number: int = 0) -> requests.Session:
        """Return a client that can make unsafe calls, as documented."""
        client = self.client(number)
        told = client.get(f"{self.url}/gateway/", timeout=10).json()
        client.headers[told["csrf_header"]] = told["csrf_token"]
        client.headers["Origin"] = self.url
        return client

    def get(self, path: str, **options: Any) -> requests.Response:
        with self.client() as client:
            return client.get(f"{self.url}/gateway/{path}", timeout=20, **options)

    def read_log(self) -> str:
        """Return the log, once it has all that was logged until now: its thread may be behind."""
        last = self.get("").headers["X-Request-ID"]
        wait_until(lambda: last in self.log.read_text(encoding="utf-8"), "the log is written")
        return self.log.read_text(encoding="utf-8")

    def control(self, what: str) -> str:
        return requests.get(f"{self.url}/_control/{what}", timeout=10).text

    @contextmanager
    def switch(self, to: str, back: str) -> Iterator[None]:
        """Change something in the gateway's process for the length of a block."""
        self.control(to)
        try:
            yield
        finally:
            self.control(back)

    def state(self) -> dict[str, int]:
        """Return the upstream's counters."""
        url = f"http://127.0.0.1:{self.upstream_port}/_state"
        found: dict[str, int] = requests.get(url, timeout=10).json()
        return found

    def raw(self, request: bytes, *, signed_in: bool = True, cookie: str = "") -> bytes:
        """Send bytes unchanged and return the whole response.

        `{cookie}` becomes the session cookie's header, and `{host}` the gateway's host.
        """
        header = f"Cookie: gateway_sessionid={self.keys[0]}{cookie}".encode()
        request = request.replace(b"{cookie}", header if signed_in else b"X-None: 1")
        request = request.replace(b"{host}", f"127.0.0.1:{self.port}".encode())
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            found = b""
            try:
                while piece := connection.recv(65536):
                    found += piece
            except ConnectionResetError:
                pass
            return found


class CannedServer:
    """Sends the bytes that a test set for a path, then closes."""

    def __init__(self) -> None:
        self.responses: dict[str, bytes] = {}
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self._response(connection)

    def _response(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        self.requests.append(request)
        path = request.split(b" ", 2)[1].decode().partition("?")[0]
        connection.sendall(self.responses.get(path, b"HTTP/1.1 404 Not Found\r\n\r\n"))


@contextmanager
def canned_server() -> Iterator[CannedServer]:
    server = CannedServer()
    server.thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        server.thread.join()


def upstream_variables(name: str, port: int, **more: str) -> dict[str, str]:
    variables = {"URL": f"http://127.0.0.1:{port}", "PROVIDER": "corp", **more}
    return {f"UPSTREAM_{name}_{key}": value for key, value in variables.items()}


def prometheus_variables(port: int) -> dict[str, str]:
    return {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }


@contextmanager
def running_gateway(
    folder: Path,
    *,
    sessions: int = 8,
    database: str | None = None,
    issuer: str = "",
    variables: Mapping[str, str] = {},
) -> Iterator[Gateway]:
    """Run a gateway; `variables` are added to those of its upstreams."""
    port, upstream_port, mcp_port, careless_port, nobody = free_ports(5)
    rules, clients = str(folder / "rules.toml"), folder / "clients.json"
    Path(rules).write_text(RULES, encoding="utf-8")
    clients.write_text(json.dumps(CLIENTS), encoding="utf-8")
    pins = folder / "pins.json"
    pins.write_text(json.dumps({"tools": [*PINNED, {"name": "search_a"}]}), encoding="utf-8")
    with canned_server() as canned:
        declared = (
            upstream_variables("ECHO", upstream_port, MAX_CONCURRENT="2000", MAX_BODY="2000000000")
            | upstream_variables(
                "DEEP", upstream_port, URL=f"http://127.0.0.1:{upstream_port}/v1/x"
            )
            | upstream_variables("NARROW", upstream_port, METHODS="GET,POST", PATHS="/user,/repos/")
            | upstream_variables("SMALL", upstream_port, MAX_BODY="1000", MAX_CONCURRENT="2")
            | upstream_variables("HASTY", upstream_port, READ_TIMEOUT="1", STREAM_TIMEOUT="3")
            | upstream_variables("DEAD", nobody, CONNECT_TIMEOUT="1")
            | upstream_variables("NAMED", nobody, URL=f"http://localhost:{nobody}")
            | upstream_variables("OTHER", upstream_port, PROVIDER="absent")
            | upstream_variables("BOUND", upstream_port, PROVIDER="bound")
            | upstream_variables("TOOLS", mcp_port, URL=f"http://127.0.0.1:{mcp_port}/mcp")
            | upstream_variables("READ", upstream_port, READ_MCP="1", READ_TIMEOUT="5")
            | upstream_variables(
                "READTOOLS", mcp_port, URL=f"http://127.0.0.1:{mcp_port}/mcp", READ_MCP="1"
            )
            | upstream_variables("GROUPED", upstream_port, READ_MCP="1", ALLOWED_GROUPS="sales")
            | upstream_variables("RATED", upstream_port, RATE="3/h look*=1/h")
            | upstream_variables("COUNTED", upstream_port, RATE="3/h look*=1/h")  # calls count
            | upstream_variables("RATEDAPI", upstream_port, RATE="2/h")
            | upstream_variables("RULED", upstream_port, POLICY_FILE=rules, CLIENTS="1")
            | upstream_variables("PINNED", upstream_port, TOOLS_PINNED=str(pins))
            | upstream_variables(
                "PINNEDRULED", upstream_port, TOOLS_PINNED=str(pins), POLICY_FILE=rules
            )
            | {
                "UPSTREAM_NOTES_MCP": f"http://127.0.0.1:{upstream_port}",
                "UPSTREAM_NOTES_POLICY_FILE": rules,
            }
            | upstream_variables("CANNED", canned.port, READ_TIMEOUT="5")
            | upstream_variables(
                "ADDED", canned.port, REQUEST_HEADERS="x-amz-*, Notion-Version, X-User-Id"
            )
            | upstream_variables("TOLD", upstream_port, CLIENT_ADDRESS="1")
            | upstream_variables("CARELESS", careless_port, READ_TIMEOUT="5")
            | upstream_variables("OPEN", upstream_port, MAX_CONCURRENT="2", CLIENTS="1")
            | upstream_variables(
                "SCARCE", upstream_port, MAX_CONCURRENT="2", CLIENTS="1", CONNECT_TIMEOUT="1"
            )
            | upstream_variables(
                "STORED", upstream_port, CLIENTS="1", REDIRECT_HOSTS="files.example.com"
            )
            | upstream_variables("LED", canned.port, READ_TIMEOUT="5", CLIENTS="1")
            | upstream_variables(
                "WHO", upstream_port, CLIENTS="1", TOKEN="identity", CLAIMS="email,groups"
            )
            | upstream_variables("UNHELD", upstream_port, PROVIDER="absent", CLIENTS="1")
            | upstream_variables(
                "MCP", mcp_port, URL=f"http://127.0.0.1:{mcp_port}/mcp", CLIENTS="1"
            )
        )
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_TEST_ISSUER": issuer,
            "AUTHORIZATION_ISSUER": f"http://127.0.0.1:{port}",
            "CLIENTS_REGISTRATION": "1",
            "CLIENTS_METADATA_DOCUMENTS": "1",
            "CLIENTS_DPOP": "1",
            "CLIENTS_FILE": str(clients),
            "IDENTITY_KEY_FILE": write_key(folder / "identity.pem"),
            "GATEWAY_TEST_DATABASE": database or f"sqlite:///{folder}/gateway.sqlite3?{OPTIONS}",
            **declared,
            **variables,
        }
        package = "tests.gateway_site.support"
        log = folder / "gateway.log"
        with (
            log.open("wb") as output,
            started(module(f"{package}.upstream", str(upstream_port)), environment, stderr=output),
            started(module(f"{package}.careless", str(careless_port)), environment, stderr=output),
            started(
                module(f"{package}.serving", str(port), str(sessions)),
                environment,
                stdout=subprocess.PIPE,
                stderr=output,
            ) as process,
        ):
            line = process.stdout.readline() if process.stdout else ""
            assert line, log.read_text(encoding="utf-8")
            ports = (port, upstream_port, careless_port)
            wait_until(lambda: all(map(is_listening, ports)), "all listen")
            yield Gateway(
                port,
                upstream_port,
                mcp_port,
                canned,
                psutil.Process(process.pid),
                json.loads(line),
                log,
            )
