"""Registration, tokens and revocation as programs meet them: JSON, bounded, readable anywhere."""

import base64
import json
import threading
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import Client, RequestFactory
from pytest_django import Settings

from gateway_site.rules import problems
from oauth.clients import grant_end
from oauth.clients.endpoints import api, tokens
from oauth.clients.rules.client import Client as OAuthClient
from oauth.clients.rules.client import Source
from oauth.clients.server import AuthorizationServer
from sessions_kms import outages as store_outages
from sessions_kms.outages import Outage
from tests.oauth.clients.support.app import (
    ISSUER,
    RESOURCE,
    SERVER,
    App,
    WayBack,
    basic,
    register_app,
)
from tests.oauth.clients.support.consent import allow
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

POSTED = ["/oauth/register", "/oauth/token", "/token", "/oauth/revoke"]
FORM = "application/x-www-form-urlencoded"
GRACE = 120


@pytest.fixture
def pair(corp: FakeProvider, ada: Visitor, app: App) -> dict[str, Any]:
    """Have a client allowed, and return its tokens."""
    app.register()
    found: dict[str, Any] = app.redeem(WayBack.of(allow(ada, app, corp)).response["code"]).json()
    return found


def test_client_without_cached_metadata_refreshes_at_the_former_mcp_endpoint(
    app: App, pair: dict[str, Any]
) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
    response = app.post("/token", form | {"client_id": app.client_id})
    assert response.status_code == 200
    assert app.refresh(pair["refresh_token"]).json() == response.json()


@pytest.mark.parametrize("path", POSTED)
def test_pages_of_other_sites_may_call_and_read(server: object, path: str) -> None:
    origin = {"origin": "https://app.example"}
    asked = Client().options(path, headers=origin)
    assert asked.status_code == 204
    assert asked["Access-Control-Allow-Origin"] == "*"
    assert asked["Access-Control-Allow-Headers"] == (
        "Authorization, Content-Type, DPoP, MCP-Protocol-Version"
    )
    assert asked["Access-Control-Allow-Methods"] == "POST"
    assert "Access-Control-Allow-Credentials" not in asked
    for response in (Client().post(path, "x", "text/plain", headers=origin), Client().get(path)):
        assert response["Access-Control-Allow-Origin"] == "*"
        assert response["Cache-Control"] == "no-store"
        assert not response.cookies
    assert Client().get(path).status_code == 405


@pytest.mark.parametrize("path", ["/.well-known/oauth-authorization-server", *POSTED])
def test_malformed_session_cookie_is_not_deleted_in_what_caches_may_repeat(
    server: object, path: str
) -> None:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = "malformed"
    for response in (client.get(path), client.options(path)):
        assert not response.cookies
        assert "Cookie" not in response.get("Vary", "")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{}", "text/plain"),
        ("redirect_uris=https://a.example/", FORM),
        ("[", "application/json"),
        ("[" * 5000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (
            json.dumps({"redirect_uris": ["https://a.example/"], "x": "x" * 8192}),
            "application/json",
        ),
        ("null", "application/json"),
        ('{"redirect_uris": ["https://a.example/"], "x": NaN}', "application/json"),
        (
            '{"client_name": "A", "redirect_uris": ["https://a.example/"], "client_name": "B"}',
            "application/json",
        ),
    ],
)
def test_malformed_registration_is_a_400(server: object, body: Any, kind: str) -> None:
    response = Client().post("/oauth/register", body, kind)
    assert response.status_code == 400
    assert response.json().keys() == {"error", "error_description"}


def test_flood_of_registrations_leaves_nothing_behind(app: App, store: Stack) -> None:
    for number in range(50):
        app.name = f"Tool {number}"
        assert app.register().status_code == 201
    assert list(store.dynamodb.items) == []


def rejection_of(app: App, form: dict[str, Any] | str, path: str = "/oauth/token") -> str:
    body = form if isinstance(form, str) else urlencode(form)
    response = app.http.post(path, body, FORM)
    assert response.status_code == 400, response.content
    assert response["Cache-Control"] == "no-store"
    error: str = response.json()["error"]
    return error


def test_incomplete_token_request_is_rejected_with_its_error_code(app: App, store: Stack) -> None:
    app.register()
    client = {"client_id": app.client_id}
    code = {"grant_type": "authorization_code", "code": "gwc_" + "a" * 32}
    verifier = {"code_verifier": "v" * 43}
    for form, error in (
        ({}, "invalid_request"),
        (client, "invalid_request"),
        (client | {"grant_type": "password"}, "unsupported_grant_type"),
        (client | {"grant_type": "client_credentials"}, "unsupported_grant_type"),
        (code | verifier, "invalid_request"),
        (code | verifier | {"client_id": "dcr.x"}, "invalid_client"),
        (code | verifier | {"client_id": "unknown"}, "invalid_client"),
        (client | {"grant_type": "authorization_code"} | verifier, "invalid_request"),
        (client | code, "invalid_request"),
        (client | code | {"code_verifier": "short"}, "invalid_grant"),
        (client | code | verifier, "invalid_grant"),
        (client | verifier | code | {"code": "gwr_" + "a" * 32}, "invalid_grant"),
        (client | {"grant_type": "refresh_token"}, "invalid_request"),
        (client | {"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        (client | code | verifier | {"resource": f"{ISSUER}/gateway/absent"}, "invalid_target"),
    ):
        assert rejection_of(app, form) == error, form


def test_repeated_parameters_are_rejected(app: App, store: Stack) -> None:
    app.register()
    form = {
        "grant_type": "refresh_token",
        "client_id": app.client_id,
        "refresh_token": "gwr_" + "a" * 32,
    }
    body = urlencode(form)
    for name, value in form.items():
        for again in (value, ""):
            assert rejection_of(app, f"{body}&{urlencode({name: again})}") == "invalid_request"
    twice = urlencode([("resource", RESOURCE)] * 2)
    assert rejection_of(app, f"{body}&{twice}") == "invalid_target"
    assert rejection_of(app, f"{body}&resource={RESOURCE}") == "invalid_grant"


def test_body_that_is_too_long_or_of_another_type_is_not_parsed(app: App, store: Stack) -> None:
    app.register()
    token, client_id = "gwr_" + "a" * 32, app.client_id
    form = urlencode(
        {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token}
    )
    fits = f"{form}&x=".ljust(8192, "x")
    assert rejection_of(app, fits) == "invalid_grant"
    assert rejection_of(app, fits + "x") == "invalid_request"
    for kind in ("text/plain", "application/json", ""):
        response = app.http.post("/oauth/token", form, kind)
        assert response.json()["error"] == "invalid_request"
    long = urlencode({"token": token, "client_id": client_id}) + "&x="
    assert rejection_of(app, long.ljust(8193, "x"), "/oauth/revoke") == "invalid_request"


def test_code_or_token_in_a_query_or_a_header_is_ignored(app: App, pair: dict[str, Any]) -> None:
    form = {"grant_type": "refresh_token", "client_id": app.client_id}
    query = urlencode({"refresh_token": pair["refresh_token"]})
    response = app.http.post(f"/oauth/token?{query}", urlencode(form), FORM)
    assert response.json()["error"] == "invalid_request"
    bearer = {"authorization": f"Bearer {pair['refresh_token']}"}
    assert app.http.post("/oauth/token", urlencode(form), FORM, headers=bearer).status_code == 401
    assert app.http.get(f"/oauth/token?{query}&{urlencode(form)}").status_code == 405
    assert app.refresh(pair["refresh_token"]).status_code == 200


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("is_in_form", [True, False])
def test_public_client_may_name_itself_by_basic_with_an_empty_secret(
    app: App, pair: dict[str, Any], encoded: bool, is_in_form: bool
) -> None:
    headers = basic(app.client_id, encoded=encoded)
    client = {"client_id": app.client_id} if is_in_form else {}
    form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]} | client
    response = app.http.post("/oauth/token", urlencode(form), FORM, headers=headers)
    assert response.status_code == 200, response.content
    form = {"token": response.json()["access_token"]} | client
    assert app.http.post("/oauth/revoke", urlencode(form), FORM, headers=headers).status_code == 200
    assert app.refresh(response.json()["refresh_token"]).json()["error"] == "invalid_grant"


def test_client_whose_id_is_a_url_may_use_basic_too(
    corp: FakeProvider, ada: Visitor, app: App, settings: Settings
) -> None:
    """Unencoded, its id has a colon, which by the RFC would end it."""
    app.client_id = "https://app.example.com/a+b/client%20.json"
    found = OAuthClient(app.client_id, "App", (app.redirect_uri,), Source.OPERATOR)
    listed = {"listed": {app.client_id: found}}
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | listed)
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": app.verifier}
    headers = basic(app.client_id)
    assert app.http.post("/oauth/token", urlencode(form), FORM, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/token", "/oauth/revoke"])
def test_authorization_that_fails_is_a_401_with_a_challenge_and_ends_nothing(
    app: App, pair: dict[str, Any], path: str
) -> None:
    other = register_app("Other")
    token = {"token": pair["refresh_token"], "refresh_token": pair["refresh_token"]}
    form = {"grant_type": "refresh_token", "client_id": app.client_id} | token
    failing = [
        basic(app.client_id, "secret"),
        basic(other.client_id),
        basic(""),
        basic("", "secret"),
        {"authorization": f"Bearer {pair['access_token']}"},
        {"authorization": f"DPoP {pair['access_token']}"},
        {"authorization": "Basic"},
        {"authorization": "Basic %%%"},
        {"authorization": "Basic " + base64.b64encode(b"\xff:").decode()},
        {"authorization": "Basic " + base64.b64encode(b"%ff:").decode()},
        {"authorization": "Basic " + base64.b64encode(app.client_id.encode()).decode()},
        {"authorization": basic(app.client_id)["authorization"] + ", Basic eA=="},
        {"authorization": "Basic " + "A" * 30_000},
    ]
    for headers in failing:
        response = app.http.post(path, urlencode(form), FORM, headers=headers)
        assert response.status_code == 401, headers
        assert response["WWW-Authenticate"].startswith('Basic realm="')
        assert response.json()["error"] == "invalid_client"
        assert response["Access-Control-Allow-Origin"] == "*"
        assert response["Cache-Control"] == "no-store"
    assert app.refresh(pair["refresh_token"]).status_code == 200


def test_unknown_client_gets_a_401_only_if_it_sent_authorization(app: App, store: Stack) -> None:
    form = urlencode({"grant_type": "refresh_token", "refresh_token": "gwr_" + "a" * 32})
    named = app.http.post("/oauth/token", form, FORM, headers=basic("dcr.x"))
    assert (named.status_code, named.json()["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" in named
    response = app.http.post("/oauth/token", f"{form}&client_id=dcr.x", FORM)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client")
    assert "WWW-Authenticate" not in response


def test_token_is_valid_only_for_its_client_and_upstream(app: App, pair: dict[str, Any]) -> None:
    other = register_app("Other")
    assert other.refresh(pair["refresh_token"]).json()["error"] == "invalid_grant"
    for resource in (f"{ISSUER}/gateway/files", f"{ISSUER}/gateway/absent", "x"):
        response = app.refresh(pair["refresh_token"], resource=resource)
        assert response.json()["error"] == "invalid_target"
    assert (
        app.refresh(pair["refresh_token"], scope="tools files").json()["error"] == "invalid_scope"
    )
    # Nothing of that spent it; nor does another spelling of the resource matter.
    assert app.refresh(pair["refresh_token"], resource=f"{RESOURCE}/mcp/").status_code == 200


def test_client_that_is_no_longer_allowed_gets_no_more_tokens(
    app: App, pair: dict[str, Any], settings: Settings
) -> None:
    for changes in ({"registration": False}, {"refused": frozenset({app.client_id})}):
        settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | changes)
        assert app.refresh(pair["refresh_token"]).json()["error"] == "invalid_client"
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    assert app.refresh(pair["refresh_token"]).status_code == 200


def test_redirect_uri_that_is_no_longer_allowed_stops_its_tokens(
    corp: FakeProvider, ada: Visitor, app: App, settings: Settings
) -> None:
    app.register(redirect_uris=[app.redirect_uri, "https://other.example/cb"])
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    refusing = AuthorizationServer(**SERVER | {"refused": frozenset({"localhost"})})
    settings.AUTHORIZATION_SERVER = refusing
    assert app.redeem(code).json()["error"] == "invalid_grant"
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    pair = app.redeem(code).json()
    settings.AUTHORIZATION_SERVER = refusing
    assert app.refresh(pair["refresh_token"]).json()["error"] == "invalid_grant"


def test_either_token_revokes_and_an_unknown_one_is_no_error(
    app: App, pair: dict[str, Any]
) -> None:
    def revoke(token: str, client_id: str = app.client_id) -> Any:
        return app.post("/oauth/revoke", {"token": token, "client_id": client_id})

    other = register_app("Other")
    assert revoke("gwa_" + "a" * 32).status_code == 200
    assert revoke("nonsense").status_code == 200
    assert revoke(pair["access_token"], other.client_id).json()["error"] == "invalid_grant"
    assert app.refresh(pair["refresh_token"]).status_code == 200
    assert revoke(pair["access_token"]).status_code == 200
    assert app.refresh(pair["refresh_token"]).json()["error"] == "invalid_grant"


def test_outage_is_a_503_so_clients_keep_their_token(
    app: App, pair: dict[str, Any], store: Stack
) -> None:
    store.dynamodb.unavailable = True
    for response in (
        app.refresh(pair["refresh_token"]),
        app.post("/oauth/revoke", {"token": pair["access_token"], "client_id": app.client_id}),
    ):
        assert response.status_code == 503
        assert response.json()["error"] == "temporarily_unavailable"
        assert int(response["Retry-After"]) > 0
        assert response["Access-Control-Allow-Origin"] == "*"
    store.dynamodb.unavailable = False
    store.clock.advance(30)
    assert app.refresh(pair["refresh_token"]).status_code == 200


def test_outage_of_the_sql_database_is_a_503_too(
    app: App, pair: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Outage(problems.outage_logger, "database", "The database")
    monkeypatch.setattr(problems, "database_outage", database)

    def away(*_: Any) -> Any:
        raise OperationalError("no server")

    app.http.raise_request_exception = False
    with connection.execute_wrapper(away):
        response = app.refresh(pair["refresh_token"])
    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (503, "*")
    assert response.json()["error"] == "temporarily_unavailable"
    assert int(response["Retry-After"]) > 0
    assert database.is_at_hand()
    assert app.refresh(pair["refresh_token"]).status_code == 200


def test_seventeenth_concurrent_request_is_told_to_retry(app: App, store: Stack) -> None:
    app.register()
    assert tokens.REQUESTS_MAX == 16
    held = threading.Barrier(tokens.REQUESTS_MAX + 1)
    done = threading.Event()

    def hold() -> None:
        with tokens._requests.slot(""):
            held.wait()
            done.wait()

    threads = [threading.Thread(target=hold) for _ in range(tokens.REQUESTS_MAX)]
    for each in threads:
        each.start()
    held.wait()
    try:
        response = app.refresh("gwr_" + "a" * 32)
        assert response.status_code == 503
        # Only requests that use the store need a slot: invalid ones and pages are answered.
        assert rejection_of(app, "x=1") == "invalid_request"
        assert Client().get("/").status_code == 200
    finally:
        done.set()
        for each in threads:
            each.join()
    assert app.refresh("gwr_" + "a" * 32).json()["error"] == "invalid_grant"


def test_age_is_measured_at_arrival_of_the_request(
    store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RequestFactory().post("/oauth/token")
    assert api.arrival_time(request) == pytest.approx(store.clock(), abs=0.5)
    monkeypatch.setattr(api, "perf_counter", lambda: 100.0)
    setattr(request, api.ARRIVED_ATTRIBUTE, 60.0)
    assert api.arrival_time(request) == store.clock() - 40
    setattr(request, api.ARRIVED_ATTRIBUTE, 101.0)
    assert api.arrival_time(request) == store.clock()


def test_token_response_has_the_end_of_the_grant(app: App, pair: dict[str, Any]) -> None:
    """draft-ietf-oauth-refresh-token-expiration-03 has them whenever there is a refresh token."""
    response = app.refresh(pair["refresh_token"]).json()
    for each in (pair, response):
        assert each.keys() == {
            *("access_token", "token_type", "expires_in", "refresh_token", "scope"),
            *("refresh_token_timeout", "authorization_expires_in"),
        }
        assert 0 < each["expires_in"] < each["refresh_token_timeout"]
        assert each["refresh_token_timeout"] <= each["authorization_expires_in"]
        assert 7 * 86_400 - each["authorization_expires_in"] in {0, 1}  # in whole seconds


def test_client_that_refreshes_in_a_loop_is_told_to_retry_later(
    app: App, pair: dict[str, Any], store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    held = pair
    for _ in range(10):
        held = app.refresh(held["refresh_token"]).json()
    store.clock.advance(20)
    assert grant_end.drain_deletions(10)
    before = dict(store.dynamodb.items)
    caplog.clear()
    for _ in range(3):
        response = app.refresh(held["refresh_token"])
        assert response.status_code == 503
        assert response.json()["error"] == "temporarily_unavailable"
        assert response["Retry-After"] == "40"
        assert response["Access-Control-Allow-Origin"] == "*"
        assert response["Cache-Control"] == "no-store"
    assert store.dynamodb.items == before
    assert [each for each in caplog.records if each.name != "sessions_kms.refused"] == []
    store.clock.advance(40)
    assert app.refresh(held["refresh_token"]).status_code == 200


def test_client_that_refreshes_in_a_loop_does_not_affect_others(
    app: App, pair: dict[str, Any]
) -> None:
    """In an outage a call without credentials gets no challenge, but here it must."""
    held = pair
    while (response := app.refresh(held["refresh_token"])).status_code == 200:
        held = response.json()
    assert response.status_code == 503
    assert not store_outages.is_at_hand()


def test_repeated_code_is_rejected_and_the_first_pair_stays_valid(
    corp: FakeProvider, ada: Visitor, app: App, store: Stack
) -> None:
    """A page that submits twice, or a program that tries again: RFC 6749 section 4.1.2."""
    app.register()
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    pair = app.redeem(code).json()
    for later in (0, 5, 5):
        store.clock.advance(later)
        again = app.redeem(code)
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert again["Cache-Control"] == "no-store"
    pair = app.refresh(pair["refresh_token"]).json()
    store.clock.advance(300)
    assert app.redeem(code, code_verifier="w" * 43).json()["error"] == "invalid_grant"
    pair = app.refresh(pair["refresh_token"]).json()
    assert app.redeem(code).json()["error"] == "invalid_grant"
    assert app.refresh(pair["refresh_token"]).json()["error"] == "invalid_grant", "it has ended"


def test_age_of_a_code_is_measured_at_arrival(
    corp: FakeProvider, ada: Visitor, app: App, store: Stack
) -> None:
    app.register()
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    pair = app.redeem(code).json()
    store.clock.advance(30)
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": app.verifier}
    body = urlencode(form | {"client_id": app.client_id})
    request = RequestFactory().post("/oauth/token", body, FORM)
    setattr(request, api.ARRIVED_ATTRIBUTE, time.perf_counter() - 25)
    assert json.loads(tokens.token(request).content)["error"] == "invalid_grant"
    assert app.refresh(pair["refresh_token"]).status_code == 200


def test_age_of_a_spent_token_is_measured_at_arrival(
    app: App, pair: dict[str, Any], store: Stack
) -> None:
    response = app.refresh(pair["refresh_token"])
    store.clock.advance(GRACE + 5)
    form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
    body = urlencode(form | {"client_id": app.client_id})
    request = RequestFactory().post("/oauth/token", body, FORM)
    setattr(request, api.ARRIVED_ATTRIBUTE, time.perf_counter() - 10)
    told, again = response.json(), json.loads(tokens.token(request).content)
    assert again.pop("expires_in") == told.pop("expires_in") - GRACE - 5
    assert (again["access_token"], again["refresh_token"]) == (
        told["access_token"],
        told["refresh_token"],
    )
    assert app.refresh(pair["refresh_token"]).json()["error"] == "invalid_grant", "it came now"
