"""An MCP server, or its authorization server, that means ill: what it names is not believed."""

import logging
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pytest

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.mcp import pins, resource_metadata
from oauth.mcp.pins import Pin
from oauth.mcp.servers import McpServer, find_server
from oauth.network import http
from oauth.network.vetted_addresses import PUBLIC
from oauth.provider import metadata
from oauth.provider.server_metadata import URL_MAX, check_server_document
from tests.oauth.support.fixtures import configure
from tests.oauth.support.hostile import ADDRESS, ANOTHER_ADDRESS, INSIDE, name_the_inside
from tests.oauth.support.mcp_internet import (
    EVIL_ADDRESS,
    ISSUER,
    LOGIN_HOST,
    MCP_HOST,
    OPENID_PATH,
    RESOURCE_PATH,
    SERVER_PATH,
    WITH_PATH,
    World,
    document,
    server_document,
)
from tests.support.cases import each_case

EVIL = "https://evil.example"
PROVIDERS = {
    "OAUTH_CORP_CLIENT_ID": "corp-client",
    "OAUTH_CORP_CLIENT_SECRET": "the-secret",
    "OAUTH_CORP_ISSUER": f"{EVIL}/realms/corp",  # the company's own, in these tests
    "OAUTH_GITHUB_CLIENT_ID": "github-client",
    "OAUTH_GITHUB_CLIENT_SECRET": "the-secret",
}
PIN_OF_OTHER = Pin(issuer=ISSUER, resource=f"{EVIL}/mcp", scopes=(), hosts=(LOGIN_HOST,))
NAMES = ".hostile.example"
HONEST = {(ADDRESS, 443), (ANOTHER_ADDRESS, 443)}
VAGUE = {Code.PROVIDER_UNAVAILABLE, Code.UNREACHABLE, Code.TIMEOUT}
ENDPOINTS = ["authorization_endpoint", "token_endpoint", "registration_endpoint",
             "revocation_endpoint"]  # fmt: skip


@pytest.mark.parametrize(
    "issuer",
    [
        f"{EVIL}/realms/corp",
        f"{EVIL}/realms/other",
        EVIL,
        "https://EVIL.example/realms/corp",
        "https://evil.example:443/realms/corp",
        "https://github.com/login/oauth",
        "https://api.elsewhere.example/tenant",
        "https://gateway.example.com",
    ],
)
def test_issuer_of_a_provider_or_of_another_upstream_is_not_even_requested(
    world: World, issuer: str
) -> None:
    configure(world.settings, PROVIDERS)
    world.settings.OAUTH_UPSTREAM_ORIGINS = ["https://api.elsewhere.example", world.mcp.origin]
    world.settings.PUBLIC_URL = "https://gateway.example.com"
    world.publish_resource(authorization_servers=[issuer])
    assert world.failure() is Code.RESERVED_ORIGIN
    assert set(world.internet.reached) == {(ADDRESS, 443)}


def test_it_is_accepted_if_the_operator_names_it(world: World) -> None:
    configure(world.settings, PROVIDERS)
    issuer = f"{EVIL}/realms/corp"
    world.publish_server(path=f"{SERVER_PATH}/realms/corp", issuer=issuer)
    world.publish_resource(authorization_servers=[issuer])
    world.declare(issuer=ISSUER)
    assert world.look().issuer == ISSUER
    world.declare(issuer=issuer)
    assert world.look().issuer == issuer


def test_authorization_server_of_another_mcp_server_is_reserved_as_set_and_as_pinned(
    world: World,
) -> None:
    other: dict[str, object] = {"url": f"{EVIL}/mcp"}

    def declare(**members: object) -> McpServer:
        notes = {"url": world.server.url} | members
        world.settings.OAUTH_MCP_SERVERS = {"notes": notes, "other": other}
        world.forget()
        found = find_server("other")
        assert found is not None
        return found

    declare()
    assert world.look().issuer == ISSUER
    other["issuer"] = f"{ISSUER}/another-tenant"
    declare()
    assert world.failure() is Code.RESERVED_ORIGIN
    del other["issuer"]
    pins.replace_pin(declare(), PIN_OF_OTHER)
    assert world.failure() is Code.RESERVED_ORIGIN
    declare(issuer=ISSUER)
    assert world.look().issuer == ISSUER
    other["url"] = f"{world.mcp.origin}/other"  # of one operator
    pins.replace_pin(declare(), PIN_OF_OTHER)
    assert world.look().issuer == ISSUER


def test_servers_own_origin_may_have_its_authorization_server(world: World) -> None:
    world.settings.OAUTH_UPSTREAM_ORIGINS = [world.mcp.origin]
    world.publish_resource(authorization_servers=[world.mcp.origin])
    world.mcp.put(SERVER_PATH, document(server_document(world.mcp.origin)))
    assert world.look().issuer == world.mcp.origin


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_endpoint_at_a_providers_address_is_rejected(world: World, endpoint: str) -> None:
    configure(world.settings, PROVIDERS)
    world.publish_server(**{endpoint: "https://Evil.example/realms/corp/token"})
    assert world.failure() is Code.RESERVED_ORIGIN


def test_endpoint_that_only_the_metadata_of_a_provider_names_is_reserved_before_anybody_signs_in(
    world: World,
) -> None:
    configure(world.settings, PROVIDERS)
    elsewhere = {"token_endpoint": "https://tokens.corp.example/token"}
    corp = f"{EVIL}/realms/corp"
    corps = server_document(corp) | elsewhere | {"jwks_uri": f"{corp}/keys"}
    world.evil.put(f"/realms/corp{OPENID_PATH}", document(corps))
    world.publish_server(**elsewhere)
    assert world.failure() is Code.RESERVED_ORIGIN
    world.declare(issuer=ISSUER)
    assert world.look().metadata.token_endpoint == elsewhere["token_endpoint"]


def test_provider_whose_metadata_names_an_honest_servers_issuer_does_not_lock_that_out(
    world: World,
) -> None:
    configure(world.settings, PROVIDERS)
    corp = f"{EVIL}/realms/corp"
    corps = server_document(corp) | {"jwks_uri": f"{corp}/keys"}
    squatted = {"revocation_endpoint": f"{ISSUER}/x", "token_endpoint": f"{world.mcp.origin}/x"}
    world.evil.put(f"/realms/corp{OPENID_PATH}", document(corps | squatted))
    world.publish_server(token_endpoint=f"{world.mcp.origin}/token")
    assert world.look().metadata.token_endpoint == f"{world.mcp.origin}/token"


@pytest.mark.parametrize(
    "host", ["evil.example.", "evil%2eexample", "e\tvil.example", "me@x.example"]
)
def test_endpoint_that_programs_read_differently_is_rejected(world: World, host: str) -> None:
    configure(world.settings, PROVIDERS)
    world.publish_server(token_endpoint=f"https://{host}/token")
    assert world.failure() is Code.METADATA_ENDPOINT


@pytest.mark.parametrize("host", ["x" + "\u0344" * 1000, "[" + ":" * 1900 + "]", "a." * 1000])
def test_address_that_takes_parsers_long_is_not_parsed(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer of 65 KB of marks held the whole process up for seconds."""
    parsed: list[str] = []

    def note(url: str) -> SplitResult:
        parsed.append(url)
        return urlsplit(url)

    for module in (resource_metadata, metadata):
        monkeypatch.setattr(module, "urlsplit", note)
    url = f"https://{host}/"
    assert resource_metadata.origin_of(url) is None
    assert not metadata.is_safe_endpoint(url, "https://as.example", allow_http=False)
    assert all(each.isascii() and len(each) <= URL_MAX for each in parsed)


@pytest.mark.slow
def test_authorization_server_inside_is_never_connected_to(world: World) -> None:
    name_the_inside(world.internet)
    for where in INSIDE:
        world.forget()
        world.publish_resource(authorization_servers=[f"https://{where}"])
        assert world.failure() in {Code.ADDRESS_REFUSED, Code.METADATA_ENDPOINT}, where
    assert set(world.internet.reached) == {(ADDRESS, 443)}


@each_case("endpoint", ENDPOINTS)
@each_case("where", [each for each in INSIDE if not each.endswith(NAMES)])
def test_no_endpoint_may_be_inside(where: str, endpoint: str) -> None:
    members = server_document(ISSUER) | {endpoint: f"https://{where}/x"}
    with pytest.raises(ProviderUnavailable) as caught:
        check_server_document(members, ISSUER, PUBLIC)
    assert caught.value.code is Code.METADATA_ENDPOINT


def test_endpoint_whose_name_leads_inside_is_never_connected_to(world: World) -> None:
    name_the_inside(world.internet)
    for where in (each for each in INSIDE if each.endswith(NAMES)):
        world.forget()
        world.publish_server(token_endpoint=f"https://{where}/x")
        found = world.look().metadata
        with pytest.raises(ProviderUnavailable) as caught:
            http.post(found.token_endpoint, {}, {}, reach=found.reach)
        assert caught.value.code is Code.ADDRESS_REFUSED
    assert set(world.internet.reached) == HONEST


def test_private_authorization_server_needs_a_private_upstream_or_the_operator(
    world: World,
) -> None:
    inside = ("10.0.0.6", 443)
    world.internet.name(LOGIN_HOST, inside[0])
    world.internet.servers[inside] = world.internet.servers[ANOTHER_ADDRESS, 443]
    assert world.failure() is Code.ADDRESS_REFUSED
    assert inside not in world.internet.reached
    world.forget()
    world.declare(allow_private=True)
    assert world.look().issuer == ISSUER
    world.forget()
    world.declare()
    world.internet.name(MCP_HOST, "10.0.0.5")
    world.internet.servers["10.0.0.5", 443] = world.internet.servers[ADDRESS, 443]
    assert world.look().issuer == ISSUER


def test_upstream_on_loopback_does_not_open_other_private_networks(world: World) -> None:
    world.internet.name(MCP_HOST, "127.0.0.1")
    world.internet.servers["127.0.0.1", 443] = world.internet.servers[ADDRESS, 443]
    world.internet.name(LOGIN_HOST, "169.254.169.254")
    assert world.failure() is Code.ADDRESS_REFUSED
    assert set(world.internet.reached) == {("127.0.0.1", 443)}


@pytest.mark.parametrize("issuer", ["http://login.notes.example", "http://127.0.0.1:9000"])
def test_issuer_without_tls_is_rejected(world: World, issuer: str) -> None:
    world.publish_resource(authorization_servers=[issuer])
    assert world.failure() is Code.METADATA_ISSUER
    assert set(world.internet.reached) == {(ADDRESS, 443)}


@pytest.mark.parametrize(
    "named",
    [
        f"{EVIL}/x",
        "https://evil.example\\@mcp.notes.example/x",
        "https://mcp.notes.example@evil.example/x",
        "https://mcp.notes.example:8443/x",
        "http://mcp.notes.example/x",
        "//evil.example/x",
        "/x",
        "https://mcp.notes.example./x",
        "https://mcp.notes.example" + "/x" * 2000,
    ],
)
def test_challenge_cannot_lead_to_another_origin(world: World, named: str) -> None:
    world.challenge(f'Bearer resource_metadata="{named.replace(chr(92), chr(92) * 2)}"')
    assert world.look().issuer == ISSUER
    assert world.mcp.requests == ["/team/mcp", WITH_PATH]
    assert set(world.internet.reached) == HONEST


def test_ten_parameters_of_a_challenge_are_told_apart(world: World) -> None:
    others = ", ".join(f'p{number}="resource_metadata=\\"{EVIL}\\""' for number in range(8))
    world.challenge(
        f'Basic resource_metadata="{EVIL}/b", Bearer {others}, '
        'resource_metadata="https://mcp.notes.example/right", scope="a b"'
    )
    world.publish_resource(path="/right", scopes_supported=["c"])
    assert world.look().scopes == ("a", "b")
    assert world.mcp.requests == ["/team/mcp", "/right"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/team/mcp", WITH_PATH, SERVER_PATH])
def test_redirects_are_not_followed(world: World, path: str, status: int) -> None:
    site = world.login if path == SERVER_PATH else world.mcp
    site.put(path, (status, {"Location": f"{EVIL}/x"}, b""))
    world.evil.put("/x", document(server_document(EVIL) | {"resource": world.server.url}))
    if path == "/team/mcp":
        assert world.look().issuer == ISSUER
    else:
        assert world.failure() in {Code.RESOURCE_STATUS, Code.METADATA_STATUS}
    assert world.evil.requests == []
    assert (EVIL_ADDRESS, 443) not in world.internet.reached


ODD: dict[str, Any] = {
    "nothing": document(b""),
    "a list": document([]),
    "null": document(b"null"),
    "text": document("x"),
    "a page": document(b"<html>", media_type="text/html"),
    "JSON called text": document(b"{}", media_type="text/plain"),
    "no members": document({}),
    "huge": document({"x": "y" * 70_000}),
    "many keys": document({f"{number}": 0 for number in range(60_000)}),
    "deep": document(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "a member twice": document(b'{"resource": "a", "resource": "b", "issuer": "a", "issuer": "b"}'),
    "NaN": document(b'{"resource": NaN}'),
    "UTF-16": document('{"a": 1}'.encode("utf-16")),
    "a long number": document(b'{"a": ' + b"9" * 10_000 + b"}"),
    "compressed": (200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f"),
    "an error": document({}, status=500),
}
RESOURCES: dict[str, Any] = {
    "a number as resource": {"resource": 5},
    "no resource": {"resource": None},
    "a number as issuers": {"authorization_servers": 5},
    "one text as issuers": {"authorization_servers": ISSUER},
    "no issuers": {"authorization_servers": []},
    "numbers as issuers": {"authorization_servers": [1, None, {}]},
    "an empty issuer": {"authorization_servers": [""]},
    "no address as issuer": {"authorization_servers": ["login"]},
    "a malformed issuer": {"authorization_servers": ["https://[::1"]},
    "a long issuer": {"authorization_servers": [ISSUER + "/x" * 1500]},
    "an issuer with a query": {"authorization_servers": [f"{ISSUER}?x=1"]},
    "a user name": {"authorization_servers": [f"https://me@{LOGIN_HOST}"]},
    "scopes with quotes": {"scopes_supported": ['a"b']},
    "scopes with blanks": {"scopes_supported": ["a b"]},
    "many scopes": {"scopes_supported": [f"s{number}" for number in range(101)]},
    "long scopes": {"scopes_supported": ["s" * 3000]},
    "somebody else's resource": {"resource": f"{EVIL}/team/mcp"},
    "another tenant's resource": {"resource": "https://mcp.notes.example/tenant/mcp"},
    "another tenant's parent": {"resource": "https://mcp.notes.example/te"},
}
SERVERS: dict[str, Any] = {
    "another issuer": {"issuer": EVIL},
    "an issuer with a slash": {"issuer": f"{ISSUER}/"},
    "an issuer in capitals": {"issuer": ISSUER.upper()},
    "no issuer": {"issuer": None},
    "no S256": {"code_challenge_methods_supported": ["plain"]},
    "no method": {"code_challenge_methods_supported": None},
    "text as methods": {"code_challenge_methods_supported": "S256"},
    "no token endpoint": {"token_endpoint": None},
    "a number as endpoint": {"token_endpoint": 5},
    "http": {"token_endpoint": f"http://{LOGIN_HOST}/token"},
    "a script": {"authorization_endpoint": "javascript:alert(1)"},
    "blanks": {"authorization_endpoint": f"{ISSUER}/a b"},
    "a malformed address": {"token_endpoint": "https://[::1/x"},
    "a long endpoint": {"registration_endpoint": ISSUER + "/x" * 1500},
    "an object as revocation endpoint": {"revocation_endpoint": {}},
    "an object as registration endpoint": {"registration_endpoint": {"a": 1}},
    "text as authentication methods": {"token_endpoint_auth_methods_supported": "none"},
}


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["mcp", "login"])
def test_odd_document_is_an_error_with_a_code(
    world: World, whose: str, caplog: pytest.LogCaptureFixture
) -> None:
    for what, response in ODD.items():
        world.forget()
        for path in (RESOURCE_PATH, WITH_PATH) if whose == "mcp" else (SERVER_PATH, OPENID_PATH):
            (world.mcp if whose == "mcp" else world.login).put(path, response)
        assert world.failure() not in VAGUE, what
    assert "yyyy" not in caplog.text


@pytest.mark.slow
def test_odd_members_of_the_resources_metadata_are_an_error(world: World) -> None:
    for what, members in RESOURCES.items():
        world.forget()
        world.publish_resource(**members)
        assert world.failure() in {
            Code.RESOURCE_OTHER, Code.RESOURCE_UNREADABLE, Code.METADATA_ISSUER,
            Code.METADATA_ENDPOINT,
        }, what  # fmt: skip
    assert world.login.requests == []


@pytest.mark.slow
def test_odd_members_of_the_authorization_servers_metadata_are_an_error(world: World) -> None:
    for what, members in SERVERS.items():
        world.forget()
        world.login.put(SERVER_PATH, document(server_document(ISSUER) | members))
        assert world.failure() in {
            Code.METADATA_ENDPOINT, Code.METADATA_ISSUER, Code.METADATA_PKCE,
            Code.METADATA_UNREADABLE,
        }, what  # fmt: skip
    assert (EVIL_ADDRESS, 443) not in world.internet.reached


def test_log_has_nothing_that_the_stranger_wrote(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.publish_resource(authorization_servers=["https://\nforged line"])
    world.failure()
    assert "forged" not in caplog.text
