"""An authorization request: read in one way, or refused."""

from typing import Any
from urllib.parse import urlencode

import pytest

from oauth.clients.rules.authorization_request import (
    RequestedGrant,
    parse_authorization_request,
    select_grant,
)
from oauth.clients.rules.errors import RequestRejected
from tests.support.cases import each_case

ISSUER = "https://gateway.example.com"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
GOOD = {
    "response_type": "code",
    "client_id": "tool",
    "redirect_uri": "https://a.example/cb",
    "state": "s",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "resource": f"{ISSUER}/gateway/tools",
}
OFFERED = ("tools", "files")


def requested_grant(offered: tuple[str, ...] = OFFERED, /, **changes: str | None) -> RequestedGrant:
    members = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return select_grant(parse_authorization_request(urlencode(members)), ISSUER, offered)


def test_request_says_which_upstream_it_is_about() -> None:
    assert requested_grant(scope="openid files tools offline_access") == RequestedGrant(
        upstream="tools",
        resource=f"{ISSUER}/gateway/tools",
        scope="tools offline_access",
        challenge=CHALLENGE,
    )


@pytest.mark.parametrize(
    "resource", ["/gateway/tools/", "/gateway/tools/mcp", "/gateway/tools/mcp/v1/"]
)
def test_audience_is_the_upstream_whichever_of_its_addresses_is_named(resource: str) -> None:
    for origin in (ISSUER, "HTTPS://Gateway.EXAMPLE.com"):
        assert requested_grant(resource=origin + resource).resource == f"{ISSUER}/gateway/tools"


@each_case(
    "resource",
    [
        ISSUER,
        f"{ISSUER}/",
        f"{ISSUER}/gateway/",
        f"{ISSUER}/gateway/others",
        f"{ISSUER}/gateway/Tools",
        f"{ISSUER}/gateway/tools2",
        f"{ISSUER}/GATEWAY/tools",
        f"{ISSUER}/gateway/tools/../files",
        f"{ISSUER}/gateway/tools/%2e%2e/files",
        f"{ISSUER}/gateway/tools?x",
        f"{ISSUER}/gateway/tools#x",
        f"{ISSUER}/gateway/tools//x",
        f"{ISSUER}.evil.example/gateway/tools",
        f"{ISSUER}@evil.example/gateway/tools",
        "http://gateway.example.com/gateway/tools",
        "https://other.example.com/gateway/tools",
        "https://gateway.examp1e.com/gateway/tools",  # as long as ours
    ],
)
def test_unknown_resource_is_an_invalid_target(resource: str) -> None:
    assert rejection_of(resource=resource) == "invalid_target"


def test_missing_resource_is_derived_from_the_scope_or_the_only_upstream() -> None:
    assert requested_grant(resource=None, scope="openid files").upstream == "files"
    assert requested_grant(("tools",), resource=None).upstream == "tools"
    assert rejection_of(resource=None) == "invalid_target"
    assert rejection_of(resource=None, scope="tools files") == "invalid_target"
    assert rejection_of((), resource=None) == "invalid_target"


def rejection_of(offered: tuple[str, ...] = OFFERED, /, **changes: Any) -> str:
    with pytest.raises(RequestRejected) as caught:
        requested_grant(offered, **changes)
    return caught.value.code


@each_case(
    ("changes", "code"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
        ({"code_challenge": CHALLENGE[:-1] + "="}, "invalid_request"),
        ({"code_challenge": CHALLENGE + "\n"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
        ({"prompt": "login none"}, "consent_required"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://a.example/x"}, "request_uri_not_supported"),
    ],
)
def test_unsupported_request_is_rejected(changes: dict[str, str], code: str) -> None:
    assert rejection_of(**changes) == code


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_request_without_client_or_redirect_uri_is_rejected(name: str) -> None:
    for value in (None, ""):
        assert rejection_of(**{name: value}) == "invalid_request"


@each_case("name", sorted(GOOD))
def test_repeated_parameter_is_rejected_even_with_the_same_value(name: str) -> None:
    query = urlencode(GOOD)
    for more in (GOOD[name], "", "x"):
        with pytest.raises(RequestRejected):
            parse_authorization_request(f"{query}&{urlencode({name: more})}")


def test_long_or_broken_query_is_refused() -> None:
    with pytest.raises(RequestRejected, match="1,900"):
        parse_authorization_request(urlencode(GOOD | {"state": "s" * 1900}))
    for query in ("client_id=%ff&redirect_uri=x", "&".join(f"a{n}=1" for n in range(50))):
        with pytest.raises(RequestRejected, match="cannot be read"):
            parse_authorization_request(query)
