"""Libraries of other projects as clients of a running gateway, with a key or a secret, and with
tokens that are bound to a key (DPoP)."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from gateway_site.local.kms import LocalKMS
from oauth.clients.rules.authentication import hash_secret, make_secret
from tests import ROOT
from tests.gateway_site.support.keyed import CHALLENGE, REDIRECT_URI, VERIFIER, Browser, keyed_fleet

PROGRAM = ROOT / "tests/interop/node/confidential_client.js"
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
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": REDIRECT_URI,
            "state": "s",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": f"{self.url}/gateway/people",
        }
        page = self.browser.get(f"{self.url}/oauth/authorize?{urlencode(query)}")
        led = self.browser.press(page, "decision", self.url, decision="allow")
        back = self.browser.get(self.browser.provider.consent(led.headers["Location"]))
        found: set[str] = set(re.findall(r"gwc_\w+", back.text))
        [code] = found
        return code


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


@pytest.mark.parametrize("library", ["oauth4webapi", "openid-client"])
@pytest.mark.parametrize(
    ("method", "algorithm"),
    [*((method, None) for method in METHODS), *((method, "ES256") for method in METHODS)]
    + [("none", "Ed25519"), ("none", "PS256")],
)
def test_library_exchanges_refreshes_calls_and_revokes(
    gateway: Gateway, library: str, method: str, algorithm: str | None
) -> None:
    client_id = METHODS[method]
    code = gateway.consent(client_id)
    query = urlencode({"code": code, "state": "s", "iss": gateway.url})
    given = {
        "issuer": gateway.url,
        "answered": f"{REDIRECT_URI}?{query}",
        "redirect_uri": REDIRECT_URI,
        "state": "s",
        "verifier": VERIFIER,
        "client_id": client_id,
        "method": method,
        "library": library,
        "key": gateway.key,
        "secret": gateway.secret,
        "bound": algorithm is not None,
        "algorithm": algorithm,
        "resource": f"{gateway.url}/gateway/people/.well-known/openid-configuration?a=b",
    }
    if method != "none":
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        stolen = requests.post(
            f"{gateway.url}/oauth/token", form | {"client_id": client_id}, timeout=30
        )
        assert (stolen.status_code, stolen.json()["error"]) == (401, "invalid_client")
    done = subprocess.run(
        ["node", str(PROGRAM)],  # noqa: S607 - as the other programs here
        env={"PATH": os.environ["PATH"], "CLIENT": json.dumps(given)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    token_type = "bearer" if algorithm is None else "dpop"
    assert json.loads(done.stdout) == {"scope": "people", "token_type": token_type, "status": 200}
