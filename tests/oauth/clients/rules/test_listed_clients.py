"""The operator's own clients: each is whole, or the file is refused with the reason."""

from typing import Any

import pytest

from oauth.clients.rules.client import JWT_BEARER, Source, read_client_list
from oauth.clients.rules.redirect_uris import CURSOR_URI, DEFAULT_URIS
from tests.support.cases import each_case

TOOL = {"client_id": "tool", "client_name": "Tool", "redirect_uris": ["https://a.example/cb"]}


def test_listed_clients_are_verified_by_the_operator() -> None:
    pinned = "https://app.example.com/client.json"
    found = read_client_list(
        [
            TOOL | {"client_uri": "https://tool.example.com/"},
            {"client_id": pinned, "redirect_uris": ["http://127.0.0.1/cb", CURSOR_URI]},
        ],
        DEFAULT_URIS,
    )
    assert {each.source for each in found.values()} == {Source.OPERATOR}
    assert (found["tool"].host, found["tool"].name) == ("tool.example.com", "Tool")
    assert (found[pinned].host, found[pinned].name) == ("app.example.com", "app.example.com")


@each_case(
    ("changes", "why"),
    [
        ({"client_id": "dcr.x"}, "given to who registers"),
        ({"client_id": "a b"}, "plain letters"),
        ({"client_id": ""}, "plain letters"),
        ({"client_id": 7}, "plain letters"),
        ({"client_id": "https://app.example.com"}, "with a path"),
        ({"client_secret": "x"}, "has client_secret"),
        ({"redirect_uris": []}, "must have a list"),
        ({"redirect_uris": ["http://a.example/"]}, "neither https"),
        ({"redirect_uris": ["app:/cb"]}, "CLIENTS_REDIRECT_URIS"),
        ({"redirect_uris": ["https://a.example/cb?state=x"]}, "code, state, iss or error"),
        ({"client_uri": "http://a.example/"}, "client_uri"),
        ({"jwks_uri": "http://a.example/jwks"}, "jwks_uri"),
        ({"jwks": {"keys": []}}, "public signing keys"),
        ({"client_secret_sha256": "secret"}, "client_secret prints"),
        ({"client_secret_sha256": []}, "client_secret prints"),
        ({"client_secret_sha256": ["A" * 64]}, "client_secret prints"),
        ({"client_secret_sha256": ["a" * 64] * 3}, "client_secret prints"),
        ({"client_secret_sha256": "a" * 64, "jwks": {"keys": []}}, "remove one"),
        ({"jwks": {"keys": []}, "jwks_uri": "https://a.example/jwks"}, "remove one"),
        ({"grant_types": []}, "as grant_types a list of"),
        ({"grant_types": ["password"]}, "as grant_types a list of"),
        ({"grant_types": "authorization_code"}, "as grant_types a list of"),
        ({"grant_types": [["authorization_code"]]}, "as grant_types a list of"),
        ({"grant_types": [JWT_BEARER]}, "but not authorization_code"),
    ],
)
def test_incomplete_client_is_rejected_with_the_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=rf"client 2.*{why}|{why}"):
        read_client_list([TOOL | {"client_id": "first"}, TOOL | changes], DEFAULT_URIS)


def test_entry_with_grant_types_may_use_assertions_only_if_they_are_listed() -> None:
    secret = {"client_secret_sha256": "a" * 64}
    alone = {"client_id": "alone", "grant_types": [JWT_BEARER]} | secret
    both = ["authorization_code", JWT_BEARER]
    entries: list[dict[str, Any]] = [
        alone,
        TOOL | {"client_id": "public"},
        TOOL | {"client_id": "listed", "grant_types": both},
        TOOL | {"client_id": "secret"} | secret,
        TOOL | {"client_id": "code", "grant_types": ["authorization_code"]} | secret,
    ]
    found = read_client_list(entries, DEFAULT_URIS)
    assert found["alone"].redirect_uris == ()
    may = {each.id for each in found.values() if each.may_use_assertions}
    assert may == {"alone", "listed", "secret"}


def test_repeated_id_is_rejected() -> None:
    with pytest.raises(ValueError, match="of another"):
        read_client_list([TOOL, TOOL], DEFAULT_URIS)
    contents: list[object] = [{}, None, "x", [TOOL] * 1001]
    for content in contents:
        with pytest.raises(ValueError, match="JSON list"):
            read_client_list(content, DEFAULT_URIS)
