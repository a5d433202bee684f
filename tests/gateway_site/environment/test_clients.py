"""OAuth clients by environment: off unless switched on, and refused where it makes no sense."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.checks import check_clients
from gateway_site.environment.clients import ClientVariables
from oauth.clients.rules.redirect_uris import CURSOR_URI
from oauth.clients.server import AuthorizationServer
from tests.gateway_site.support.loading import local, production
from tests.support.cases import each_case

URL = "https://gateway.example.com"
API = {"UPSTREAM_API_URL": "https://api.example.com", "UPSTREAM_API_PROVIDER": "corp"}
ON = API | {"UPSTREAM_API_CLIENTS": "1", "PUBLIC_URL": URL}


def server(**changes: str) -> AuthorizationServer:
    found = production(**ON | changes)["AUTHORIZATION_SERVER"]
    assert isinstance(found, AuthorizationServer)
    return found


@pytest.mark.parametrize(
    "environment",
    [{}, {"PUBLIC_URL": URL}, API, API | {"PUBLIC_URL": URL}, ON | {"UPSTREAM_API_CLIENTS": "0"}],
)
def test_no_client_may_sign_in_by_default(environment: dict[str, str]) -> None:
    assert production(**environment)["AUTHORIZATION_SERVER"] is None


def test_issuer_or_public_url_with_an_offered_upstream_switches_it_on() -> None:
    assert server().issuer == URL
    by_issuer = API | {"AUTHORIZATION_ISSUER": f"{URL}/", "ALLOWED_HOSTS": ""}
    loaded = production(**by_issuer)
    assert (loaded["AUTHORIZATION_SERVER"].issuer, loaded["ALLOWED_HOSTS"]) == (
        URL,
        ["gateway.example.com"],
    )


def test_only_upstreams_with_clients_are_offered_and_no_client_is_known_by_default() -> None:
    more = {"UPSTREAM_INNER_URL": "https://inner.example.com", "UPSTREAM_INNER_PROVIDER": "github"}
    found = server(**more)
    assert found.upstreams == {"api": "corp"}
    assert (found.metadata_documents, found.registration, found.listed) == (False, False, {})
    assert found.redirect_uris == {CURSOR_URI}


@each_case("name", [each.name for each in ClientVariables.declarations()])
def test_variable_without_effect_is_rejected(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{name}:? ") as caught:
        production(**API, **{name: "http://1" if name == "AUTHORIZATION_ISSUER" else "1"})
    assert "UPSTREAM_<NAME>_CLIENTS" in str(caught.value) or name == "AUTHORIZATION_ISSUER"


def test_misspelled_value_without_effect_is_both_said() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"must be 1 or 0 .* has no effect, because"):
        production(**API, CLIENTS_REGISTRATION="yess")


@each_case(
    ("name", "value"),
    [
        ("AUTHORIZATION_ISSUER", "http://gateway.example.com"),
        ("AUTHORIZATION_ISSUER", "https://gateway.example.com/gateway"),
        ("AUTHORIZATION_ISSUER", "https://other.example.com"),
        ("CLIENTS_ACCESS_TOKEN_AGE", "59"),
        ("CLIENTS_ACCESS_TOKEN_AGE", "86401"),
        ("CLIENTS_REFRESH_GRACE", "301"),
        ("CLIENTS_GRANT_AGE", str(90 * 24 * 3600 + 1)),
        ("CLIENTS_REGISTRATION", "maybe"),
        ("CLIENTS_METADATA_DOCUMENTS", "2"),
        ("CLIENTS_PRIVATE_KEY_JWT", "2"),
        ("CLIENTS_DPOP", "2"),
        ("CLIENTS_END_WITH_SID", "no!"),
        ("CLIENTS_ALLOWED_HOSTS", "https://claude.ai"),
        ("CLIENTS_ALLOWED_HOSTS", "*"),
        ("CLIENTS_REFUSED", "Evil.example"),
        ("CLIENTS_REFUSED", "https://evil.example"),
        ("CLIENTS_REFUSED", "https://evil.example/a?b"),
        ("CLIENTS_REFUSED", "evil.example dcr."),
        ("CLIENTS_REFUSED", "sha256:abc"),
        ("CLIENTS_REDIRECT_URIS", "https://claude.ai/callback"),
        ("CLIENTS_REDIRECT_URIS", "javascript:alert(1)"),
        ("CLIENTS_REDIRECT_URIS", "data:text/html,x"),
        ("CLIENTS_REDIRECT_URIS", "cursor"),
        ("CLIENTS_REDIRECT_URIS", "cursor://cb?code=1"),
        ("UPSTREAM_API_CLIENTS", "all"),
    ],
)
def test_unusable_value_is_an_error_that_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} "):
        production(**ON | {name: value})


def test_local_run_accepts_only_loopback_without_tls() -> None:
    issuer = {"AUTHORIZATION_ISSUER": "http://127.0.0.1:8000"}
    assert local(**API, **issuer)["AUTHORIZATION_SERVER"].issuer == "http://127.0.0.1:8000"
    with pytest.raises(ImproperlyConfigured):
        production(**API, **issuer)
    with pytest.raises(ImproperlyConfigured, match="only loopback names"):
        local(**API, AUTHORIZATION_ISSUER="http://gateway.example.com")


def test_only_lifetimes_that_are_set_reach_the_settings() -> None:
    assert production(**ON)["OAUTH_CLIENTS"] == {}
    assert production(**ON)["SESSIONS_KMS"]["GRANT_TIMEOUT"] is None
    set_ = {"ACCESS_TOKEN_AGE": "60", "REFRESH_GRACE": "0", "GRANT_AGE": "7776000"}
    variables = {f"CLIENTS_{name}": value for name, value in set_.items()}
    loaded = production(**ON, **variables, CLIENTS_END_WITH_SID="1")
    assert loaded["SESSIONS_KMS"]["GRANT_TIMEOUT"] == 7776000
    assert loaded["OAUTH_CLIENTS"] == {
        "access_token_age": 60,
        "refresh_grace": 0,
        "end_with_sid": True,
    }


def test_clients_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    app = {"client_id": "our-app", "client_name": "Ours", "redirect_uris": ["https://a.example/cb"]}
    path.write_text(json.dumps([app]), encoding="utf-8")
    assert server(CLIENTS_FILE=str(path)).listed["our-app"].name == "Ours"


def test_clients_are_refused_by_host_or_id(tmp_path: Path) -> None:
    long = f"sha256:{'0' * 64}"
    refused = {
        "evil.example",
        ".evil.example",
        "localhost",
        "dcr.eyJ9",
        "https://a.example/b",
        long,
    }
    assert server(CLIENTS_REFUSED=", ".join(refused)).refused == refused
    path = tmp_path / "clients.json"
    app = {"client_id": "our-app", "redirect_uris": ["https://a.example/cb"]}
    path.write_text(json.dumps([app]), encoding="utf-8")
    with pytest.raises(ImproperlyConfigured, match=r"^CLIENTS_REFUSED .*our-app.*CLIENTS_FILE"):
        server(CLIENTS_FILE=str(path), CLIENTS_REFUSED="our-app")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"[" * 9000,
        b"\xff",
        b" " * 300_000,
        b'[{"client_id": "a", "client_id": "b", "redirect_uris": ["https://a.example/"]}]',
    ],
)
def test_file_that_cannot_be_read_is_an_error_that_repeats_nothing(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "clients.json"
    path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=r"^CLIENTS_FILE[ :]"):
        server(CLIENTS_FILE=str(path))
    with pytest.raises(ImproperlyConfigured, match=r"^CLIENTS_FILE: file not found"):
        server(CLIENTS_FILE=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({"upstreams": {}}, ["gateway_site.W010", "gateway_site.W011"]),
        ({}, ["gateway_site.W011"]),
        ({"registration": True}, []),
        ({"metadata_documents": True}, []),
    ],
)
def test_check_warns_where_no_client_could_come(
    settings: Settings, changes: dict[str, Any], ids: list[str]
) -> None:
    known = {"issuer": URL, "upstreams": {"api": "corp"}}
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**known | changes)
    assert [each.id for each in check_clients()] == ids


def test_listed_client_with_a_key_needs_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    entry = {"client_id": "tool", "redirect_uris": ["https://tool.example.com/cb"]}
    path.write_text(json.dumps([entry | {"jwks_uri": "https://keys.example.com/jwks.json"}]))
    with pytest.raises(ImproperlyConfigured, match=r"^CLIENTS_FILE .*CLIENTS_PRIVATE_KEY_JWT=1"):
        server(CLIENTS_FILE=str(path))
    found = server(CLIENTS_FILE=str(path), CLIENTS_PRIVATE_KEY_JWT="1").listed["tool"]
    assert found.authentication.has_key
    assert not found.authentication.is_public


def test_listed_client_that_wants_bound_tokens_needs_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    entry = {"client_id": "tool", "redirect_uris": ["https://tool.example.com/cb"]}
    path.write_text(json.dumps([entry | {"dpop_bound_access_tokens": True}]))
    with pytest.raises(ImproperlyConfigured, match=r"^CLIENTS_FILE .*CLIENTS_DPOP=1"):
        server(CLIENTS_FILE=str(path))
    assert server(CLIENTS_FILE=str(path), CLIENTS_DPOP="1").listed["tool"].needs_proof
