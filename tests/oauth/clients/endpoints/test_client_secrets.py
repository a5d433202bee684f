"""Listed apps with a secret: each way to send it, and what wrong ones get."""

import json
import logging
from dataclasses import replace
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.management import call_command
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from tests.oauth.clients.support.app import REDIRECT_URI, App, WayBack, basic, list_client
from tests.oauth.clients.support.consent import allow
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

FORM = "application/x-www-form-urlencoded"
METADATA = "/.well-known/oauth-authorization-server"
METHODS = "token_endpoint_auth_methods_supported"


def made_secret() -> tuple[str, str]:
    """Return what the command prints: a secret and its digest."""
    out = StringIO()
    call_command("client_secret", json=True, stdout=out)
    found = json.loads(out.getvalue())
    return found["client_secret"], found["client_secret_sha256"]


@pytest.fixture(params=["our-tool", "https://tool.example.com/a+b/client.json"])
def tool(
    request: pytest.FixtureRequest, server: AuthorizationServer, settings: Settings
) -> tuple[App, str]:
    secret, digest = made_secret()
    _, next_digest = made_secret()
    entry = {
        "client_id": request.param,
        "redirect_uris": [REDIRECT_URI],
        "client_secret_sha256": [next_digest, digest],
    }
    list_client(settings, entry)
    return App(client_id=request.param), secret


def send(app: App, path: str, form: dict[str, str], headers: dict[str, str] | None = None) -> Any:
    return app.http.post(path, urlencode(form), FORM, headers=headers or {})


def test_each_way_to_send_the_secret_is_accepted(
    ada: Visitor, corp: FakeProvider, tool: tuple[App, str]
) -> None:
    app, secret = tool
    methods = app.http.get(METADATA).json()[METHODS]
    assert methods == ["none", "private_key_jwt", "client_secret_post", "client_secret_basic"]
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    tokens = app.redeem(code, client_secret=secret).json()
    all_encoded = "".join(f"%{byte:02X}" for byte in secret.encode())
    for headers in (
        basic(app.client_id, secret),
        basic(app.client_id, secret, encoded=False),
        basic(app.client_id, all_encoded),
    ):
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        response = send(app, "/oauth/token", form, headers)
        assert response.status_code == 200, response.content
        tokens = response.json()
    form = {"token": tokens["refresh_token"]}
    assert send(app, "/oauth/revoke", form, basic(app.client_id, secret)).status_code == 200
    response = app.refresh(tokens["refresh_token"], client_secret=secret)
    assert response.json()["error"] == "invalid_grant"


def test_wrong_missing_or_repeated_secret_is_rejected_and_uses_up_nothing(
    ada: Visitor,
    corp: FakeProvider,
    tool: tuple[App, str],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    app, secret = tool
    wrong, digest = made_secret()
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    tokens = app.redeem(code, client_secret=secret).json()
    assertion = {"client_assertion": "a.b.c", "client_assertion_type": "x"}
    client = {"client_id": app.client_id}
    attempts: list[tuple[dict[str, str], dict[str, str]]] = [
        (client, {}),
        (client | {"client_secret": wrong}, {}),
        (client | {"client_secret": digest}, {}),
        (client | {"client_secret": secret + "x"}, {}),
        (client | {"client_secret": secret}, basic(app.client_id, secret)),
        (client | {"client_secret": secret}, basic(app.client_id, "")),
        (client | {"client_secret": secret} | assertion, {}),
        ({}, basic(app.client_id, wrong)),
        ({}, basic(app.client_id, "")),
    ]
    for fields, headers in attempts:
        for path, form in (
            (
                "/oauth/token",
                {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
            ),
            ("/oauth/revoke", {"token": tokens["refresh_token"]}),
            ("/oauth/revoke", {"token": tokens["access_token"]}),
        ):
            response = send(app, path, form | fields, headers)
            assert (response.status_code, response.json()["error"]) == (401, "invalid_client"), (
                fields
            )
            assert ("WWW-Authenticate" in response) is bool(headers)
            assert secret not in response.content.decode()
    settings.AUTHORIZATION_SERVER = replace(settings.AUTHORIZATION_SERVER, private_key_jwt=False)
    both = app.refresh(tokens["refresh_token"], client_secret=secret, **assertion)
    assert both.json()["error"] == "invalid_client", "two kinds of credentials, one of them is off"
    assert app.refresh(tokens["refresh_token"], client_secret=secret).status_code == 200
    assert secret not in caplog.text
    assert wrong not in caplog.text


def test_secret_is_not_compared_for_an_unknown_token(tool: tuple[App, str], store: Stack) -> None:
    app, secret = tool
    for sent in (secret, "wrong"):
        response = app.refresh("gwr_" + "a" * 32, client_secret=sent)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_metadata_lists_no_secret_if_no_entry_has_one(app: App) -> None:
    assert app.http.get(METADATA).json()[METHODS] == ["none"]
