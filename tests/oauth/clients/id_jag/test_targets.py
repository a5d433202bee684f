"""What an assertion gives access to: one upstream, by claims and parameters."""

from contextlib import nullcontext
from typing import Any

import pytest
from pytest_django import Settings

from oauth.clients.id_jag.target import check_scope, choose_upstream
from oauth.clients.rules.errors import GrantError, InvalidAssertion, RequestRejected
from tests.oauth.clients.support.app import ISSUER, RESOURCE
from tests.oauth.clients.support.asserted import open_session
from tests.oauth.clients.support.asserting import AssertingClient, make_server
from tests.oauth.support import fake_provider
from tests.oauth.support.fixtures import configure, environment
from tests.oauth.support.id_jag_provider import ABSENT, IdJagProvider
from tests.support.cases import each_case

FILES, PEOPLE = f"{ISSUER}/gateway/files", f"{ISSUER}/gateway/people"
OPEN = ("tools", "files")


def choose(claims: dict[str, Any], requested: str | None, upstreams: tuple[str, ...]) -> str:
    try:
        return choose_upstream(claims, requested, issuer=ISSUER, upstreams=upstreams)
    except (GrantError, RequestRejected) as error:
        return error.code


@each_case(
    ("claims", "requested", "upstreams", "outcome"),
    [
        ({"resource": RESOURCE}, None, OPEN, "tools"),
        ({"resource": RESOURCE + "/"}, "tools", OPEN, "tools"),
        ({"resource": RESOURCE + "/mcp"}, None, OPEN, "tools"),
        ({"resource": [RESOURCE]}, None, OPEN, "tools"),
        ({"resource": RESOURCE}, "files", OPEN, "invalid_target"),
        ({"resource": RESOURCE}, "people", OPEN, "invalid_target"),
        ({"resource": PEOPLE}, None, OPEN, "invalid_grant"),
        ({"resource": PEOPLE}, "tools", OPEN, "invalid_grant"),
        ({"resource": [RESOURCE, FILES]}, None, OPEN, "invalid_grant"),
        ({"resource": []}, "tools", OPEN, "invalid_grant"),
        ({"resource": ""}, "tools", OPEN, "invalid_grant"),
        ({"resource": None}, "tools", OPEN, "invalid_grant"),
        ({"resource": ISSUER}, None, OPEN, "invalid_grant"),
        ({"resource": "https://evil.example/gateway/tools"}, None, OPEN, "invalid_grant"),
        ({"resource": RESOURCE + "/../files"}, None, OPEN, "invalid_grant"),
        ({"resource": RESOURCE + "-more"}, None, OPEN, "invalid_grant"),
        ({}, "files", OPEN, "files"),
        ({}, "people", OPEN, "invalid_target"),
        ({}, None, OPEN, "invalid_target"),
        ({}, None, ("tools",), "tools"),
    ],
)
def test_resource_is_of_the_claim_or_the_request(
    claims: dict[str, Any], requested: str | None, upstreams: tuple[str, ...], outcome: str
) -> None:
    assert choose(claims, requested, upstreams) == outcome


@each_case(
    ("claimed", "requested", "is_allowed"),
    [
        (None, "", True),
        ("", "", True),
        ("tools", "", True),
        ("openid tools", "openid offline_access", True),
        (None, "tools files", True),
        ("tools files", "tools", True),
        ("files", "", False),
        ("files", "tools", False),
        ("tools", "files", False),
        ("tools.read", "", False),
        (None, "files people", False),
        (None, "unknown", True),
    ],
)
def test_scope_names_the_upstream_in_claim_and_request(
    claimed: str | None, requested: str, is_allowed: bool
) -> None:
    claims = {} if claimed is None else {"scope": claimed}
    offered = ("tools", "files", "people")
    expected = nullcontext() if is_allowed else pytest.raises(InvalidAssertion)
    with expected:
        check_scope(claims, requested, upstream="tools", offered=offered)


def test_request_names_the_upstream_if_the_claim_does_not(tool: AssertingClient) -> None:
    response = tool.present(tool.assertion(resource=ABSENT), resource=FILES, scope="files")
    token = response.json()["access_token"]
    assert response.json()["scope"] == "files"
    assert open_session(token, "files") is not None
    assert open_session(token, "tools") is None
    response = tool.present(tool.assertion(resource=ABSENT))
    assert (response.status_code, response.json()["error"]) == (400, "invalid_target")
    assert "has to name one" in response.json()["error_description"]
    for resource in (PEOPLE, "https://other.example/gateway/tools"):
        response = tool.present(tool.assertion(resource=ABSENT), resource=resource)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_target")


def test_other_resource_is_rejected(tool: AssertingClient) -> None:
    for resource in (PEOPLE, "https://other.example/mcp", FILES + ".evil"):
        assert tool.ask(resource=resource).json()["error"] == "invalid_grant"
    response = tool.present(tool.assertion(), resource=FILES)
    assert response.json()["error"] == "invalid_target"
    assert tool.ask(scope="files").json()["error"] == "invalid_grant"


def test_metadata_announces_it_only_where_it_is_on(
    tool: AssertingClient, settings: Settings
) -> None:
    def read() -> dict[str, Any]:
        found: dict[str, Any] = tool.http.get("/.well-known/oauth-authorization-server").json()
        return found

    grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert grant_type in read()["grant_types_supported"]
    profile = "urn:ietf:params:oauth:grant-profile:id-jag"
    assert read()["authorization_grant_profiles_supported"] == [profile]
    settings.AUTHORIZATION_SERVER = make_server(identity_upstreams=frozenset())
    assert read()["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert "authorization_grant_profiles_supported" not in read()
    assert tool.ask().json()["error"] == "unsupported_grant_type"


def test_authorization_details_of_the_request_are_rejected(tool: AssertingClient) -> None:
    response = tool.present(tool.assertion(), authorization_details="[]")
    assert response.json()["error"] == "invalid_authorization_details"


def test_form_with_an_assertion_may_have_32_kb(tool: AssertingClient) -> None:
    groups = [f"group-{number}" for number in range(1000)]
    assertion = tool.assertion(groups=groups)
    assert 16_000 < len(assertion) < 32_000
    assert tool.present(assertion).status_code == 200
    too_long = tool.present("x" * 33_000)
    assert too_long.json()["error"] == "invalid_request"
    refresh = tool.present("x" * 9_000, grant_type="refresh_token")
    assert "8,192" in refresh.json()["error_description"]


def test_provider_vouches_for_nobody_at_an_upstream_of_another(
    tool: AssertingClient, corp: IdJagProvider, settings: Settings
) -> None:
    with fake_provider.serving(IdJagProvider) as other:
        other.clock = corp.clock
        both = environment("corp", corp, ID_JAG_CLIENTS="1")
        configure(
            settings,
            both | environment("other", other, ID_JAG_CLIENTS="1", CLIENT_ID="at-the-other"),
        )
        settings.AUTHORIZATION_SERVER = make_server(upstreams={"tools": "corp", "files": "other"})
        stranger = AssertingClient(other)
        assert tool.ask(resource=FILES).json()["error"] == "invalid_grant"
        assert stranger.ask(resource=RESOURCE).json()["error"] == "invalid_grant"
        # With one upstream each, neither has to name it.
        assert tool.ask(resource=ABSENT).json()["scope"] == "tools"
        assert stranger.ask(resource=ABSENT).json()["scope"] == "files"
