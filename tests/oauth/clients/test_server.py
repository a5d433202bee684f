"""Which clients are welcome: by what is switched on, and by the operator's two lists."""

from __future__ import annotations

from typing import Any

import pytest

from oauth.clients.rules import client_ids
from oauth.clients.rules.client import Client, Source
from oauth.clients.rules.refusal import UnknownClient
from oauth.clients.server import AuthorizationServer

LOCAL = client_ids.made("Tool", ["http://127.0.0.1/cb"])
SITE = client_ids.made("Tool", ["https://app.example.com/cb"])
DOCUMENT = "https://app.example.com/client.json"
OURS = Client("ours", "Ours", ("https://ours.example/cb",), Source.OPERATOR)


def server(**changes: Any) -> AuthorizationServer:
    settings: dict[str, Any] = {
        "issuer": "https://gateway.example.com",
        "upstreams": {"tools": "corp"},
        "metadata_documents": True,
        "registration": True,
        "listed": {"ours": OURS},
    }
    return AuthorizationServer(**settings | changes)


def is_welcome(server: AuthorizationServer, client_id: str, redirect_uri: str) -> bool:
    try:
        return server.has(server.described(client_id), redirect_uri)
    except UnknownClient:
        return server.may_fetch(client_id)


def welcome(**changes: Any) -> list[str]:
    uris = {
        LOCAL: "http://127.0.0.1:7/cb",
        SITE: "https://app.example.com/cb",
        DOCUMENT: "https://app.example.com/cb",
        "ours": "https://ours.example/cb",
    }
    made = server(**changes)
    found = [each for each, uri in uris.items() if is_welcome(made, each, uri)]
    assert found == [each for each in uris if made.knows(each)]
    return found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, [LOCAL, SITE, DOCUMENT, "ours"]),
        ({"registration": False}, [DOCUMENT, "ours"]),
        ({"metadata_documents": False}, [LOCAL, SITE, "ours"]),
        ({"registration": False, "metadata_documents": False, "listed": {}}, []),
        ({"allowed_hosts": {"app.example.com"}}, [SITE, DOCUMENT, "ours"]),
        ({"allowed_hosts": {".example.com"}}, [SITE, DOCUMENT, "ours"]),
        ({"allowed_hosts": {"example.com"}}, ["ours"]),
        ({"allowed_hosts": {"localhost"}}, [LOCAL, "ours"]),
        ({"refused": {".example.com"}}, [LOCAL, "ours"]),
        ({"refused": {"localhost", DOCUMENT}}, [SITE, "ours"]),
        ({"refused": {LOCAL}}, [SITE, DOCUMENT, "ours"]),
        ({"refused": {"app.example.com"}, "allowed_hosts": {"app.example.com"}}, ["ours"]),
    ],
)
def test_client_is_welcome_by_what_is_switched_on_and_listed(
    changes: dict[str, Any], found: list[str]
) -> None:
    assert welcome(**changes) == found


def test_address_of_another_client_is_not_its_own() -> None:
    assert not is_welcome(server(), SITE, "http://127.0.0.1/cb")
    assert not is_welcome(server(), "ours", "https://app.example.com/cb")


def test_pinned_document_is_not_fetched() -> None:
    pinned = Client(DOCUMENT, "App", ("https://a.example/cb",), Source.OPERATOR, "app.example.com")
    assert server().may_fetch(DOCUMENT)
    assert not server(listed={DOCUMENT: pinned}).may_fetch(DOCUMENT)
    assert server(listed={DOCUMENT: pinned}).described(DOCUMENT) is pinned
