"""Which clients are allowed, by the settings and the operator's two lists."""

from typing import Any

from oauth.clients.rules import registration
from oauth.clients.rules.client import Client, Source
from oauth.clients.server import AuthorizationServer
from sessions_kms import about
from tests.support.cases import each_case

LOCAL = registration.make_client_id("Tool", ["http://127.0.0.1/cb"])
SITE = registration.make_client_id("Tool", ["https://app.example.com/cb"])
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


def welcome(**changes: Any) -> list[str]:
    uris = {
        LOCAL: "http://127.0.0.1:7/cb",
        SITE: "https://app.example.com/cb",
        DOCUMENT: "https://app.example.com/cb",
        "ours": "https://ours.example/cb",
    }
    made = server(**changes)
    found = [each for each, uri in uris.items() if made.may_hold_grant(each, uri)]
    assert found == [each for each in uris if made.is_known(each)]
    return found


@each_case(
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
def test_client_is_allowed_by_enabled_sources_and_lists(
    changes: dict[str, Any], found: list[str]
) -> None:
    assert welcome(**changes) == found


def test_address_of_another_client_is_not_its_own() -> None:
    assert not server().may_hold_grant(SITE, "http://127.0.0.1/cb")
    assert not server().may_hold_grant("ours", "https://app.example.com/cb")


def test_rejected_redirect_uri_is_not_allowed_by_another_of_the_client() -> None:
    both = registration.make_client_id("Tool", ["http://127.0.0.1/cb", "https://evil.example/cb"])
    made = server(refused={"evil.example"})
    assert made.is_known(both)
    assert made.may_hold_grant(both, "http://127.0.0.1:7/cb")
    assert not made.may_hold_grant(both, "https://evil.example/cb")


def test_long_id_is_rejected_in_the_shortened_form_of_list_clients() -> None:
    uri = "https://other.example/cb"
    long = registration.make_client_id("Tool" * 9, [uri])
    shown = about.short_client_id(long)
    assert shown != long
    assert server().may_hold_grant(long, uri)
    assert not server(refused={shown}).may_hold_grant(long, uri)


def test_pinned_document_is_not_fetched() -> None:
    pinned = Client(DOCUMENT, "App", ("https://a.example/cb",), Source.OPERATOR, "app.example.com")
    assert server().may_fetch(DOCUMENT)
    assert not server(listed={DOCUMENT: pinned}).may_fetch(DOCUMENT)
    assert server(listed={DOCUMENT: pinned}).find_client(DOCUMENT) is pinned


def test_document_that_describes_the_gateway_to_others_is_no_client_here() -> None:
    ours = "https://gateway.example.com/oauth/clients/wiki.json"
    assert not server().may_fetch(ours)
    assert server().may_fetch(ours.replace("gateway.", "gateway2."))
