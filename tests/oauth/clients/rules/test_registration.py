"""Registered clients: the id contains all their data, and is verified at every use."""

import base64
import json
from typing import Any

import pytest

from oauth.clients.rules import registration
from oauth.clients.rules.client import Source
from oauth.clients.rules.errors import RequestRejected, UnknownClient
from oauth.clients.rules.redirect_uris import DEFAULT_URIS
from tests.support.cases import each_case

METADATA = {"client_name": "Tool", "redirect_uris": ["http://127.0.0.1:4321/cb"]}


def register(**changes: Any) -> dict[str, Any]:
    return registration.register_client(METADATA | changes, DEFAULT_URIS)


def forge_client_id(members: object, **more: Any) -> str:
    options: dict[str, Any] = {"separators": (",", ":"), "sort_keys": True}
    text = json.dumps(members, **options | more)
    return "dcr." + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_client_is_defined_by_its_id_in_every_process() -> None:
    response = register()
    client = registration.decode_client_id(response["client_id"], DEFAULT_URIS)
    assert (client.name, client.source, client.host) == ("Tool", Source.ITSELF, None)
    assert client.has_redirect_uri("http://127.0.0.1:9/cb", DEFAULT_URIS)
    assert not client.has_redirect_uri("http://127.0.0.1:9/other", DEFAULT_URIS)
    assert register()["client_id"] == response["client_id"]


def test_id_of_before_with_a_parameter_of_a_response_is_no_client() -> None:
    uris = ["https://a.example/cb?code=x"]
    with pytest.raises(UnknownClient):
        registration.decode_client_id(registration.make_client_id("Tool", uris), DEFAULT_URIS)


def test_every_registration_yields_a_public_client() -> None:
    response = register(
        token_endpoint_auth_method="client_secret_basic",
        grant_types=["client_credentials", "password"],
        response_types=["token"],
        jwks={"keys": []},
        scope="admin",
    )
    assert response["token_endpoint_auth_method"] == "none"
    assert response["grant_types"] == ["authorization_code", "refresh_token"]
    assert response["response_types"] == ["code"]
    assert "client_secret" not in response
    assert "scope" not in response


def test_acceptable_addresses_of_a_set_are_kept_as_they_came() -> None:
    uris = [
        "https://insiders.vscode.dev/redirect",
        "https://vscode.dev/redirect",
        "http://localhost/",
        "http://127.0.0.1/",
        "http://localhost:33418/",
        "http://127.0.0.1:33418/",
        "vscode://evil/",
        "https://vscode.dev/redirect?code=another",
        "http://evil.example/",
        7,
    ]
    response = register(redirect_uris=uris)
    assert response["redirect_uris"] == [*uris[:2], "http://localhost:33418/", uris[5]]
    client = registration.decode_client_id(response["client_id"], DEFAULT_URIS)
    assert client.redirect_uris == (*uris[:2], "http://localhost/", "http://127.0.0.1/")


@each_case(
    ("metadata", "code"),
    [
        (None, "invalid_client_metadata"),
        ([], "invalid_client_metadata"),
        ({}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://a.example/"}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://a.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a.example/cb?iss=x"]}, "invalid_redirect_uri"),
        (
            {"redirect_uris": [f"https://a.example/{number}" for number in range(6)]},
            "invalid_redirect_uri",
        ),
        (
            {"redirect_uris": [f"https://a.example/{'x' * 200}{number}" for number in range(4)]},
            "invalid_client_metadata",
        ),
    ],
)
def test_registration_that_cannot_be_used_is_refused(metadata: object, code: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        registration.register_client(metadata, DEFAULT_URIS)
    assert caught.value.code == code


GOOD = {"client_name": "Tool", "redirect_uris": ["https://a.example/cb"]}


@each_case(
    "client_id",
    [
        "",
        "dcr.",
        "dcr.!",
        "tool",
        "https://a.example/client.json",
        forge_client_id(GOOD) + "=",
        forge_client_id(GOOD) + "\n",
        "DCR" + forge_client_id(GOOD)[3:],
        forge_client_id(GOOD, separators=(", ", ": ")),
        forge_client_id(GOOD, sort_keys=False) + "A",
        forge_client_id(
            {"redirect_uris": GOOD["redirect_uris"], "client_name": "Tool"}, sort_keys=False
        ),
        forge_client_id(GOOD | {"client_host": "claude.ai"}),
        forge_client_id(GOOD | {"client_name": "a\u202eb"}),
        forge_client_id(GOOD | {"client_name": "x" * 61}),
        forge_client_id(GOOD | {"client_name": ""}),
        forge_client_id(GOOD | {"client_name": None}),
        forge_client_id(GOOD | {"redirect_uris": []}),
        forge_client_id(GOOD | {"redirect_uris": ["https://a.example/cb"] * 2}),
        forge_client_id(GOOD | {"redirect_uris": [f"https://a.example/{n}" for n in range(6)]}),
        forge_client_id(GOOD | {"redirect_uris": ["http://evil.example/cb"]}),
        forge_client_id(GOOD | {"redirect_uris": ["http://127.0.0.1:80/cb"]}),
        forge_client_id(GOOD | {"redirect_uris": ["javascript:alert(1)"]}),
        forge_client_id(GOOD | {"redirect_uris": "https://a.example/cb"}),
        forge_client_id(
            GOOD | {"redirect_uris": ["https://a.example/" + each * 290 for each in "xy"]}
        ),
        forge_client_id([1]),
        "dcr." + base64.urlsafe_b64encode(b"[" * 590).decode().rstrip("="),
        "dcr." + base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("="),
    ],
)
def test_made_up_id_that_would_never_be_given_out_is_no_client(client_id: str) -> None:
    assert registration.decode_client_id(forge_client_id(GOOD), DEFAULT_URIS).name == "Tool"
    with pytest.raises(UnknownClient):
        registration.decode_client_id(client_id, DEFAULT_URIS)
