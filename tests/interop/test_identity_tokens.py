"""The three servers of identity-tokens.md: FastMCP, PyJWT in Django, and jose in Express."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from gateway_site.identity.keys import load_public_key, load_signing_key
from gateway_site.identity.token import Call, TokenIssuer
from tests.gateway_site.support.keyed import Browser, Program, keyed_fleet
from tests.interop.conftest import skip_if_left_out
from tests.interop.identity_servers import (
    KeyRelay,
    Server,
    request,
    running_servers,
    subject_of,
    write_servers,
)
from tests.support.keys import write_key
from tests.support.local_kms import LocalKMS

pytestmark = pytest.mark.timeout(400)

SUB = "corp|1001"
SECRET = "secret-" * 10
TOKEN = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.")  # the ids of clients have only one such part


@dataclass
class World:
    """Processes of the gateway, by the step of the rotation, and one person with three apps."""

    issuer: str
    keys: list[str]
    servers: list[Server]
    relay: KeyRelay
    processes: list[str]
    browser: Browser
    folder: Path
    programs: dict[str, Program] = field(default_factory=dict)

    def call_as_browser(self, server: Server, at: str) -> requests.Response:
        told = self.browser.get(f"{at}/gateway/").json()
        headers = {told["csrf_header"]: told["csrf_token"], "Origin": self.issuer}
        url = f"{at}/gateway/{server.name}"
        return request(server, url, headers, self.browser.http)

    def call_as_program(self, server: Server, at: str) -> requests.Response:
        token = self.programs[server.name].tokens["access_token"]
        url = f"{at}/gateway/{server.name}"
        return request(server, url, {"Authorization": f"Bearer {token}"})

    def sign(self, audience: str, now: float | None = None, key: str = "", **claims: str) -> str:
        """Return a token as the gateway makes it; ``now`` is by the gateway's clock."""
        call = Call(
            audience=audience,
            provider="corp",
            subject="1001",
            client_id="gateway",
            claims={},
        )
        issuer = TokenIssuer(claims.get("iss", self.issuer), load_signing_key(key or self.keys[0]))
        return issuer.make_token(call, time.time() if now is None else now)


@pytest.fixture(scope="module")
def world(
    local_kms: LocalKMS,
    roto_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[World]:
    for program in ("fastmcp", "jose"):
        skip_if_left_out(pytestconfig, program)
    folder = tmp_path_factory.mktemp("identity")
    keys = [write_key(folder / f"{each}.pem") for each in ("first", "second")]
    steps = [
        {"IDENTITY_KEY_FILE": keys[0]},
        {"IDENTITY_KEY_FILE": keys[0], "IDENTITY_PUBLISHED_KEY_FILES": keys[1]},
        {"IDENTITY_KEY_FILE": keys[1], "IDENTITY_PUBLISHED_KEY_FILES": keys[0]},
        {"IDENTITY_KEY_FILE": keys[1]},
    ]
    with keyed_fleet(local_kms, roto_url, folder) as fleet, KeyRelay() as relay:
        servers = write_servers(folder, fleet.issuer, relay.url)
        upstreams = {
            f"UPSTREAM_{each.name.upper()}_{name}": value
            for each in servers
            for name, value in {
                "URL": each.audience,
                "PROVIDER": "corp",
                "TOKEN": "identity",
                "CLIENTS": "1",
            }.items()
        }
        processes = [
            fleet.start(SECRET, LOG_LEVEL="DEBUG", AUDIT_LOG="1", **upstreams, **step)
            for step in steps
        ]
        browser = Browser(fleet.provider)
        browser.sign_in(processes[0])
        made = World(fleet.issuer, keys, servers, relay, processes, browser, folder)
        for each in servers:
            made.programs[each.name] = Program.allowed(browser, processes[0], each.name)
        yield made


def test_servers_name_the_right_user_and_reject_what_is_not_for_them(world: World) -> None:
    first = world.relay.process = world.processes[0]
    with running_servers(world.servers, world.folder):
        for each in world.servers:
            for call in (world.call_as_browser, world.call_as_program):
                assert subject_of(each, call(each, first)) == SUB
            # Right but for one thing, and shown without the gateway.
            now, other = time.time(), write_key(world.folder / "unpublished.pem")
            assert each.ask(world.sign(each.audience)) == SUB
            for clock in (now - 5, now + 5):  # the server's is ahead, or behind
                assert each.ask(world.sign(each.audience, clock)) == SUB
            others = [server.audience for server in world.servers if server != each]
            forged = jwt.encode({"sub": SUB, "aud": each.audience}, "x" * 32, "HS256")
            for token in (
                *(world.sign(audience) for audience in others),
                world.sign(each.audience, now - 75),  # expired
                world.sign(each.audience, key=other),
                world.sign(each.audience, iss="https://evil.example"),
                _with_key_id(world, each, ec.generate_private_key(ec.SECP256R1())),
                forged,
                "",
            ):
                assert each.ask(token) is None, each.name
        [tools] = [each for each in world.servers if each.is_mcp]
        metadata = f"http://127.0.0.1:{tools.port}/.well-known/oauth-protected-resource"
        for path in ("", "/mcp"):  # clients find the gateway's
            assert requests.get(metadata + path, timeout=10).status_code == 404
    assert_no_token_in(world)


def test_token_is_not_called_wrong_while_the_keys_cannot_be_fetched(world: World) -> None:
    servers = [each for each in world.servers if not each.is_mcp]  # FastMCP itself says 401
    for unusable in ("http://127.0.0.1:1", f"{world.processes[0]}/nothing"):
        world.relay.process = unusable
        with running_servers(servers, world.folder):
            for each in servers:
                token = {"Authorization": f"Bearer {world.sign(each.audience)}"}
                response = request(each, each.audience, token)
                assert response.status_code == 503, (each.name, response.text)


def _with_key_id(world: World, server: Server, key: ec.EllipticCurvePrivateKey) -> str:
    """Return a token of another key that claims to be of the published one."""
    content = jwt.decode(world.sign(server.audience), options={"verify_signature": False})
    header = {"typ": "at+jwt", "kid": load_public_key(world.keys[0])["kid"]}
    return jwt.encode(content, key, "ES256", header)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_no_call_fails_while_processes_are_at_two_steps_of_the_rotation(
    world: World, step: int
) -> None:
    """A day has passed since the step before, so all caches are from one of these processes."""
    before, after = world.processes[step - 1], world.processes[step]
    for filled_from in (before, after):
        world.relay.process = filled_from
        with running_servers(world.servers, world.folder):
            for each in world.servers:
                # It fills its cache, and nothing else may be fetched.
                assert subject_of(each, world.call_as_program(each, filled_from)) == SUB
            fetched = world.relay.fetches
            for each in world.servers:
                for process in (before, after):
                    for call in (world.call_as_browser, world.call_as_program):
                        assert subject_of(each, call(each, process)) == SUB, (each.name, process)
            assert world.relay.fetches == fetched
    assert_no_token_in(world)


def assert_no_token_in(world: World) -> None:
    """Search the logs at DEBUG, which have the events of the audit log as well."""
    logs = [each.read_text(encoding="utf-8") for each in world.folder.glob("gateway-*.log")]
    assert "gateway_site.audit" in "".join(logs)
    assert not [each for each in logs if TOKEN.search(each)]
