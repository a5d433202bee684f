"""MCP clients whose provider vouches for them, of other projects: no browser, no consent."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests import ROOT
from tests.deploy_check import PRODUCTION
from tests.gateway_site.support.keyed import KeyedFleet, keyed_fleet
from tests.interop.conftest import skip_if_left_out
from tests.interop.identity_servers import KeyRelay, Server, running_servers, write_servers
from tests.mcp_clients import node
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.claude_code import KNOWN, command, settings_for
from tests.mcp_clients.programs.command import output
from tests.mcp_clients.scripted_model import ToolCall
from tests.mcp_clients.scripted_model import serving as serving_model
from tests.oauth.clients.support.asserting import SECRET, write_clients
from tests.oauth.support.fake_provider import CLIENT_ID, CLIENT_SECRET, Handler, serving
from tests.oauth.support.fixtures import environment
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.support import processes
from tests.support.certificates import server_context
from tests.support.http_server import TlsServer, serve
from tests.support.keys import write_key
from tests.support.local_kms import LocalKMS
from tests.support.processes import free_port

pytestmark = pytest.mark.timeout(400)

SUB = "corp|1001"
TYPESCRIPT = ROOT / "tests/mcp_clients/programs/cross_app_access.mjs"


@dataclass
class World:
    """A gateway with a FastMCP server that gets identity tokens, and a provider that vouches."""

    issuer: str
    idp: IdJagProvider
    fleet: KeyedFleet
    folder: Path

    @property
    def server(self) -> str:
        return f"{self.issuer}/gateway/tools"

    def sign_in_at_the_provider(self) -> str:
        """Return a refresh token of the provider, as a client has it after a sign-in there."""
        found: str = self.idp.token_response()["refresh_token"]
        return found

    def end_grants(self) -> None:
        done = self.fleet.manage("end_sessions", "--client", "tool", "--no-input")
        assert done.returncode == 0, done.stderr


def variables_of(folder: Path, tools: Server) -> dict[str, str]:
    """Return what makes the server an upstream that is open to assertions."""
    return {
        "OAUTH_CORP_ID_JAG_CLIENTS": "1",
        "CLIENTS_FILE": write_clients(folder),
        "IDENTITY_KEY_FILE": write_key(folder / "key.pem"),
        "UPSTREAM_TOOLS_URL": tools.audience,
        "UPSTREAM_TOOLS_PROVIDER": "corp",
        "UPSTREAM_TOOLS_TOKEN": "identity",
        "UPSTREAM_TOOLS_CLIENTS": "1",
    }


@pytest.fixture(scope="module")
def world(
    local_kms: LocalKMS,
    roto_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[World]:
    skip_if_left_out(pytestconfig, "fastmcp")
    folder = tmp_path_factory.mktemp("id_jag")
    idp = IdJagProvider(client_names={CLIENT_ID: "tool"})
    with keyed_fleet(local_kms, roto_url, folder, lambda: idp) as fleet, KeyRelay() as relay:
        [tools, *_] = write_servers(folder, fleet.issuer, relay.url)
        relay.process = fleet.start(
            "key-" * 20,
            **variables_of(folder, tools),
        )
        with running_servers([tools], folder):
            yield World(fleet.issuer, idp, fleet, folder)


class Dialogue:
    """A program that prints a response for each line."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.log = log
        self.tokens = 0

    def ask(self) -> str:
        """Have it call the tool; count the tokens that it gets meanwhile."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\n")
        stdin.flush()
        while line := stdout.readline():
            word, _, rest = line.strip().partition(" ")
            if word == "answer":
                return rest
            self.tokens += word == "token"
        raise AssertionError(self.log.read_text(encoding="utf-8"))


@contextmanager
def running(world: World, *words: str, **variables: str) -> Iterator[Dialogue]:
    log = world.folder / "client.log"
    pipe = subprocess.PIPE
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=known, cwd=ROOT
        ) as process,
    ):
        try:
            yield Dialogue(process, log)
        finally:
            process.kill()


@contextmanager
def python(world: World, method: str) -> Iterator[Dialogue]:
    module = "tests.interop.asserting_client"
    given = (world.server, world.issuer, world.idp.issuer, method, world.sign_in_at_the_provider())
    with running(world, sys.executable, "-m", module, *given) as dialogue:
        yield dialogue


@contextmanager
def typescript(world: World) -> Iterator[Dialogue]:
    given = (world.server, world.issuer, world.idp.issuer, world.sign_in_at_the_provider())
    variables = {
        "CLIENT_ID": "tool",
        "CLIENT_SECRET": SECRET,
        "PROVIDER_CLIENT_ID": CLIENT_ID,
        "PROVIDER_CLIENT_SECRET": CLIENT_SECRET,
    }
    words = [str(word) for word in node.command(TYPESCRIPT, *given)]
    with running(world, *words, **variables) as dialogue:
        yield dialogue


def assert_continues(world: World, dialogue: Dialogue) -> None:
    """Call twice with one token, and again when it has ended: nobody does anything."""
    assert dialogue.ask() == SUB
    assert dialogue.ask() == SUB
    assert dialogue.tokens == 1
    world.end_grants()
    assert dialogue.ask() == SUB
    assert dialogue.tokens == 2


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_sdk_for_python_continues(world: World, method: str) -> None:
    with python(world, method) as dialogue:
        assert_continues(world, dialogue)


def test_sdk_for_typescript_continues(world: World, pytestconfig: pytest.Config) -> None:
    skip_if_left_out(pytestconfig, "mcp-clients")
    with typescript(world) as dialogue:
        assert_continues(world, dialogue)


@dataclass
class SecureWorld:
    """The same over TLS, without which Claude Code sends no assertion."""

    issuer: str
    idp: IdJagProvider
    certificate: Path
    folder: Path


@pytest.fixture
def secure(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[SecureWorld]:
    for left_out in ("fastmcp", "mcp-clients"):
        skip_if_left_out(pytestconfig, left_out)
    idp, certificate = IdJagProvider(client_names={CLIENT_ID: "tool"}), tmp_path / "tls.pem"
    tls = TlsServer(type("Tls", (Handler,), {"provider": idp}), server_context(certificate))
    port = free_port()
    issuer = f"https://127.0.0.1:{port}"
    with serving(lambda: idp), serve(tls):
        [tools, *_] = write_servers(tmp_path, issuer, f"{idp.issuer}/keys-of-the-gateway")
        idp.issuer = f"https://127.0.0.1:{tls.server_port}"
        variables = PRODUCTION | environment("corp", idp, CA_FILE=str(certificate))
        variables |= variables_of(tmp_path, tools) | {
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
            "DATABASE_URL": f"sqlite:///{tmp_path}/gateway.sqlite3?timeout=30",
            "PUBLIC_URL": issuer,
            "PROXY_SCHEME_HEADER": "",
            "SIGN_IN_ALLOWED_DOMAINS": "*",
        }
        program = [sys.executable, "-m", "tests.e2e.https_gateway", str(port)]
        words = [*program, str(certificate), str(certificate)]
        with (
            processes.running(words, variables, tmp_path / "gateway.log", port),
            running_servers([tools], tmp_path),
        ):
            url = f"{issuer}/.well-known/jwks.json"
            keys = requests.get(url, timeout=30, verify=str(certificate)).content
            idp.failing["/keys-of-the-gateway"] = lambda: (200, "application/json", keys)
            yield SecureWorld(issuer, idp, certificate, tmp_path)


def test_claude_code_continues(secure: SecureWorld) -> None:
    """Its id token is given to it; it exchanges that for an assertion whenever a token ends."""
    server = f"{secure.issuer}/gateway/tools"
    place = Place(secure.folder / "claude", server)
    known = KNOWN | {
        "CLAUDE_CODE_ENABLE_XAA": "1",
        "MCP_CLIENT_SECRET": SECRET,
        "MCP_XAA_IDP_CLIENT_SECRET": CLIENT_SECRET,
        "NODE_EXTRA_CA_CERTS": str(secure.certificate),
    }

    def run(*words: str, **variables: str) -> str:
        return output(place, command(*words), known | variables, cwd=place.home)

    def call() -> str:
        prompt = ToolCall("mcp__tools__whoami", {}).prompt
        with serving_model() as model:
            words = ("-p", prompt, "--allowedTools", "mcp__tools__whoami")
            return run(*words, **settings_for(model))

    named = ("--client-id", CLIENT_ID, "--client-secret")
    run("mcp", "xaa", "setup", "--issuer", secure.idp.issuer, *named)
    secure.idp.more_of_id_token = {"exp": int(time.time()) + 3600}
    run("mcp", "xaa", "login", "--id-token", secure.idp.token_response()["id_token"])
    added = ("--client-id", "tool", "--client-secret", "--xaa", "tools", server)
    run("mcp", "add", "--transport", "http", *added)
    assert SUB in call()
    assert SUB in call()
    assert len(secure.idp.exchanges) == 1
    expire_tokens(place.home)
    assert SUB in call()
    assert len(secure.idp.exchanges) == 2


def expire_tokens(home: Path) -> None:
    """Have Claude Code's tokens expire, as they do after fifteen minutes."""
    [file] = home.glob(".claude/.credentials.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    for held in content["mcpOAuth"].values():
        held["expiresAt"] = int((time.time() - 1) * 1000)
    file.write_text(json.dumps(content), encoding="utf-8")
