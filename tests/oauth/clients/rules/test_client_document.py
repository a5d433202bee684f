"""Client ID Metadata Documents: which ids are addresses, and which content makes a client."""

from typing import Any

import pytest

from oauth.clients.rules.client import Source, is_document_url, read_document
from oauth.clients.rules.errors import UnknownClient
from oauth.clients.rules.redirect_uris import DEFAULT_URIS
from tests.support.cases import each_case

ADDRESS = "https://app.example.com/oauth/client.json"
MEMBERS = {
    "client_id": ADDRESS,
    "client_name": "App",
    "redirect_uris": ["https://app.example.com/cb", "http://127.0.0.1/cb", "app://cb"],
    "logo_uri": "http://169.254.169.254/",
}


def client(address: str = ADDRESS, **changes: Any) -> Any:
    return read_document(address, MEMBERS | changes, DEFAULT_URIS)


def test_document_makes_a_client_verified_by_its_host() -> None:
    found = client()
    assert (found.name, found.host, found.source) == ("App", "app.example.com", Source.DOCUMENT)
    assert found.redirect_uris == ("https://app.example.com/cb", "http://127.0.0.1/cb")


@each_case(
    "address",
    [
        "http://app.example.com/client.json",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com:443/client.json",
        "https://app.example.com:8443/client.json",
        "https://user@app.example.com/client.json",
        "https://app.example.com/client.json?x=1",
        "https://app.example.com/client.json#x",
        "https://app.example.com/a/../client.json",
        "https://app.example.com/./client.json",
        "https://app.example.com/a/%2e%2E/client.json",
        "https://app.example.com/a/.%2e/client.json",
        "https://app.example.com/client.json ",
        "https://app.example.com\\@evil.example/client.json",
        "https://App.example.com/client.json",
        "https://127.0.0.1/client.json",
        "https://[::1]/client.json",
        "https://[::ffff:169.254.169.254]/client.json",
        "https://2130706433/client.json",
        "https://0x7f.0.0.1/client.json",
        "https://localhost/client.json",
        "https://app.example.com/" + "x" * 512,
        "https://\N{CYRILLIC SMALL LETTER A}pp.example.com/client.json",
        "ftp://app.example.com/client.json",
    ],
)
def test_id_that_is_no_plain_https_address_names_no_document(address: str) -> None:
    assert is_document_url(ADDRESS)
    assert not is_document_url(address)
    with pytest.raises(UnknownClient):
        client(address, client_id=address)


@each_case(
    "changes",
    [
        {"client_id": None},
        {"client_id": ADDRESS + "/"},
        {"client_id": "https://app.example.com/oauth/Client.json"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": None},
        {"token_endpoint_auth_methods_supported": []},
        {"token_endpoint_auth_methods_supported": None},
        {"token_endpoint_auth_methods_supported": "none"},
        {"token_endpoint_auth_methods_supported": ["none", ["none"]]},
        {"token_endpoint_auth_methods_supported": ["none", "<b>"]},
        {"token_endpoint_auth_methods_supported": ["none"] * 17},
        {
            "token_endpoint_auth_method": "none",
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        },
        {"client_secret": "x"},
        {"client_name": None},
        {"client_name": ""},
        {"client_name": " \u200b"},
        {"client_name": ["App"]},
        {"redirect_uris": ["https://app.example.com/cb?code=x"]},
        {"redirect_uris": None},
        {"redirect_uris": []},
        {"redirect_uris": "https://app.example.com/cb"},
        {"redirect_uris": ["app://cb", 1, None]},
        {"redirect_uris": ["https://app.example.com/cb"] * 21},
    ],
)
def test_invalid_document_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(UnknownClient):
        client(**changes)


@each_case(
    "changes",
    [
        {"token_endpoint_auth_method": "none"},
        {
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        },
        {"token_endpoint_auth_methods_supported": ["client_secret_post", "none"]},
    ],
)
def test_document_that_supports_none_is_accepted(changes: dict[str, Any]) -> None:
    assert client(**changes).name == "App"


def test_document_without_a_name_is_rejected() -> None:
    members = {name: value for name, value in MEMBERS.items() if name != "client_name"}
    with pytest.raises(UnknownClient, match="no client_name"):
        read_document(ADDRESS, members, DEFAULT_URIS)


KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",  # RFC 8037 appendix A.2
}
METHODS = "token_endpoint_auth_methods_supported"


def with_keys(**changes: Any) -> Any:
    accepted = ("none", "private_key_jwt")
    return read_document(ADDRESS, MEMBERS | changes, DEFAULT_URIS, accepted).authentication


def test_document_with_keys_at_its_own_host_supports_a_key() -> None:
    url = "https://app.example.com/jwks.json"
    at_url = with_keys(token_endpoint_auth_method="private_key_jwt", jwks_uri=url)
    assert (at_url.is_public, at_url.has_key, at_url.jwks_uri) == (False, True, url)
    inline = with_keys(**{METHODS: ["none", "private_key_jwt"], "jwks": {"keys": [KEY]}})
    assert (inline.is_public, inline.has_key, len(inline.keys)) == (True, True, 1)
    private = with_keys(
        **{METHODS: ["none", "private_key_jwt"], "jwks": {"keys": [KEY | {"d": "x"}]}}
    )
    assert (private.is_public, private.has_key) == (True, False)


@each_case(
    "changes",
    [
        {},
        {"jwks_uri": "https://evil.example/jwks.json"},
        {"jwks_uri": "https://sub.app.example.com/jwks.json"},
        {"jwks_uri": "https://app.example.com:8443/jwks.json"},
        {"jwks_uri": "https://app.example.com/jwks.json?x=1"},
        {"jwks_uri": ["https://app.example.com/jwks.json"]},
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
        {"jwks": [KEY]},
    ],
)
def test_document_without_usable_keys_supports_no_key(changes: dict[str, Any]) -> None:
    with pytest.raises(UnknownClient, match="no keys at its own host"):
        with_keys(token_endpoint_auth_method="private_key_jwt", **changes)
    assert not with_keys(**{METHODS: ["none", "private_key_jwt"]}, **changes).has_key
