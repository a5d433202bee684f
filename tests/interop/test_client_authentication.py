"""Libraries of other projects as clients of a running gateway, with a key or a secret, and with
tokens that are bound to a key (DPoP)."""

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from oauth.clients.rules.authentication import hash_secret, make_secret
from tests import ROOT
from tests.gateway_site.support.client_tokens import REDIRECT_URI, VERIFIER, authorization_url
from tests.gateway_site.support.keyed import Browser, keyed_fleet
from tests.interop.conftest import skip_if_left_out
from tests.support.local_kms import LocalKMS
from tests.support.processes import run_to_end

FOLDER = ROOT / "tests/interop"
KEY_CLIENT, SECRET_CLIENT = "https://tool.example.com/client.json", "our-tool"
PUBLIC_CLIENT = "https://public.example.com/client.json"
METHODS = {
    "none": PUBLIC_CLIENT,
    "private_key_jwt": KEY_CLIENT,
    "client_secret_post": SECRET_CLIENT,
    "client_secret_basic": SECRET_CLIENT,
}


@dataclass
class Gateway:
    """A running gateway with two listed clients, a signed-in person, and the clients' secrets."""

    url: str
    browser: Browser
    key: dict[str, Any]
    secret: str

    def consent(self, client_id: str) -> str:
        """Return the code that a client gets."""
        back = self.allow(authorization_url(self.url, client_id, upstream="people"))
        return parse_qs(urlsplit(back).query)["code"][0]

    def allow(self, address: str) -> str:
        """Allow what a client asks for; return the address to which the browser is sent back."""
        page = self.browser.get(address)
        led = self.browser.press(page, "decision", self.url, decision="allow")
        back = self.browser.get(self.browser.provider.consent(led.headers["Location"]))
        [found] = set(re.findall(rf'"({re.escape(REDIRECT_URI)}\?[^"]+)"', back.text))
        return html.unescape(found)


@pytest.fixture(scope="module")
def gateway(
    local_kms: LocalKMS, roto_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("client_authentication")
    private, secret = ec.generate_private_key(ec.SECP256R1()), "-_" + make_secret()
    made: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(private, as_dict=True)
    public = {name: value for name, value in made.items() if name != "d"} | {"kid": "one"}
    file = write_clients(folder, public, hash_secret(secret).hex())
    with keyed_fleet(local_kms, roto_url, folder) as fleet:
        variables = {"CLIENTS_FILE": str(file), "CLIENTS_PRIVATE_KEY_JWT": "1", "CLIENTS_DPOP": "1"}
        url = fleet.start("key-" * 20, **variables)
        browser = Browser(fleet.provider)
        browser.sign_in(url)
        yield Gateway(url, browser, made | {"kid": "one"}, secret)


def write_clients(folder: Path, key: dict[str, Any], digest: str) -> Path:
    entries = [
        {"client_id": PUBLIC_CLIENT, "redirect_uris": [REDIRECT_URI]},
        {"client_id": KEY_CLIENT, "redirect_uris": [REDIRECT_URI], "jwks": {"keys": [key]}},
        {
            "client_id": SECRET_CLIENT,
            "redirect_uris": [REDIRECT_URI],
            "client_secret_sha256": digest,
        },
    ]
    file = folder / "clients.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    return file


Run = tuple[str, str, str | None]  # the library, the method, the algorithm of proofs


def all_runs() -> Iterator[Run]:
    """Yield what each library can do: Authlib has no DPoP, the SDK for Python has secrets only."""
    for library in ("oauth4webapi", "openid-client", "typescript-sdk"):
        for method in METHODS:
            yield from ((library, method, None), (library, method, "ES256"))
        yield from ((library, "none", "RS256"), (library, "none", ED25519[library]))
    for method in METHODS.keys() - {"none"}:
        yield "authlib", method, None


NEEDS = {"authlib": "canaille", "typescript-sdk": "mcp-clients"}  # whose packages have it
ED25519 = {"oauth4webapi": "Ed25519", "openid-client": "Ed25519", "typescript-sdk": "EdDSA"}


def command_of(library: str) -> list[str]:
    """Return the command of a library's program."""
    if library == "authlib":
        return [os.environ["CANAILLE_PYTHON"], str(FOLDER / "authlib_client.py")]
    if library == "typescript-sdk":
        return ["node", str(ROOT / "tests/mcp_clients/programs/confidential_typescript.mjs")]
    return ["node", str(FOLDER / "node/confidential_client.js")]


def describe(gateway: Gateway, method: str) -> dict[str, Any]:
    """Return what a library's program is given, without a code."""
    return {
        "issuer": gateway.url,
        "server": f"{gateway.url}/gateway/people",
        "resource": f"{gateway.url}/gateway/people/.well-known/openid-configuration?a=b",
        "redirect_uri": REDIRECT_URI,
        "client_id": METHODS[method],
        "method": method,
        "key": gateway.key,
        "secret": gateway.secret,
    }


def environment_of(given: dict[str, Any]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "CLIENT": json.dumps(given)}


@pytest.mark.parametrize(("library", "method", "algorithm"), sorted(all_runs(), key=str))
def test_library_exchanges_refreshes_calls_and_revokes(
    gateway: Gateway,
    pytestconfig: pytest.Config,
    library: str,
    method: str,
    algorithm: str | None,
) -> None:
    skip_if_left_out(pytestconfig, NEEDS.get(library, ""))
    code = gateway.consent(METHODS[method])
    query = urlencode({"code": code, "state": "s", "iss": gateway.url})
    given = describe(gateway, method) | {
        "answered": f"{REDIRECT_URI}?{query}",
        "state": "s",
        "verifier": VERIFIER,
        "library": library,
        "bound": algorithm is not None,
        "algorithm": algorithm,
    }
    if method != "none":
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        stolen = requests.post(
            f"{gateway.url}/oauth/token", form | {"client_id": METHODS[method]}, timeout=30
        )
        assert (stolen.status_code, stolen.json()["error"]) == (401, "invalid_client")
    done = run_to_end(command_of(library), environment_of(given), is_fresh=True)
    assert done.returncode == 0, done.stderr
    token_type = "bearer" if algorithm is None else "dpop"
    assert json.loads(done.stdout) == {"scope": "people", "token_type": token_type, "status": 200}


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_sdk_for_python_signs_in_and_refreshes_with_a_secret(gateway: Gateway, method: str) -> None:
    """It sends the person to the browser itself, and has no hook for a code."""
    with subprocess.Popen(
        [sys.executable, str(FOLDER / "python_sdk_client.py")],
        env=environment_of(describe(gateway, method)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        back = gateway.allow(program.stdout.readline().strip())
        out, _ = program.communicate(f"{back}\n", timeout=60)
    scope = "people offline_access"  # which it adds because the metadata offers it
    assert json.loads(out) == {"scope": scope, "token_type": "bearer", "status": 200}
