"""What this gateway registers, and which answers it accepts."""

from typing import Any

import pytest

from oauth.codes import Code
from oauth.mcp.registration_request import (
    LIFETIME_MAX,
    MadeClient,
    UnusableClient,
    choose_auth_method,
    make_metadata,
    read_response,
)
from tests.oauth.support.registering import CALLBACK, MANAGEMENT_TOKEN
from tests.support.cases import each_case

NOW = 1_800_000_000.0
SECRET = {"client_id": "c", "client_secret": "s", "client_secret_expires_at": 0}


def read(response: dict[str, Any]) -> MadeClient:
    return read_response(response, redirect_uri=CALLBACK, now=NOW)


@each_case(
    ("methods", "chosen"),
    [
        ((), "client_secret_basic"),  # RFC 8414: the default
        (("client_secret_post", "none"), "none"),
        (("client_secret_basic", "client_secret_post"), "client_secret_post"),
        (("client_secret_basic",), "client_secret_basic"),
        (("client_secret_post",), "client_secret_post"),
        (("private_key_jwt",), "client_secret_basic"),
    ],
)
def test_method_without_a_secret_is_registered_where_it_is_offered(
    methods: tuple[str, ...], chosen: str
) -> None:
    assert choose_auth_method(methods) == chosen


@pytest.mark.parametrize(
    ("redirect_uri", "kind"),
    [
        (CALLBACK, "web"),
        ("http://127.0.0.1:8000/callback/", "native"),
        ("http://localhost:8000/callback/", "native"),
        ("http://[::1]:8000/callback/", "native"),
        ("https://localhost.example/callback/", "web"),
    ],
)
def test_registration_names_one_redirect_uri_and_its_kind(redirect_uri: str, kind: str) -> None:
    metadata = make_metadata(
        name="Acme", origin="https://gateway.example", redirect_uri=redirect_uri, auth_method="none"
    )
    assert metadata["redirect_uris"] == [redirect_uri]
    assert metadata["application_type"] == kind
    assert metadata["client_uri"] == "https://gateway.example"


@each_case(
    ("response", "method", "secret"),
    [
        ({"client_id": "c"}, None, ""),
        (SECRET, "client_secret_basic", "s"),  # RFC 7591 section 2: the default
        (SECRET | {"token_endpoint_auth_method": "client_secret_post"}, "client_secret_post", "s"),
        # A server may register another method than was requested.
        (SECRET | {"token_endpoint_auth_method": "none"}, None, ""),
        ({"client_id": "c", "client_secret": "", "redirect_uris": [CALLBACK]}, None, ""),
        ({"client_id": "c", "application_type": "whatever", "jwks": {"keys": [1]}}, None, ""),
    ],
)
def test_method_is_the_registered_one(
    response: dict[str, Any], method: str | None, secret: str
) -> None:
    assert read(response) == MadeClient("c", secret, method, None)


@each_case(
    "changes",
    [
        {"redirect_uris": ["https://evil.example/"]},
        {"redirect_uris": [CALLBACK, "https://evil.example/"]},
        {"redirect_uris": CALLBACK},
        {"redirect_uris": []},
        {"redirect_uris": [CALLBACK + "/"]},
        {"redirect_uris": {CALLBACK: 1}},
        {"client_id": None},
        {"client_id": ""},
        {"client_id": 7},
        {"client_id": "c\r\nAuthorization: x"},
        {"client_id": "\u0441"},  # a Cyrillic letter
        {"client_id": "c" * 2049},
        {"client_secret": 7},
        {"client_secret": "s\n"},
        {"client_secret": "s" * 2049},
        {"client_secret": None},  # for a method that needs one
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "tls_client_auth"},
        {"token_endpoint_auth_method": ["none"]},
        {"client_secret_expires_at": int(NOW)},
        {"client_secret_expires_at": int(NOW) + 599},
        {"client_secret_expires_at": 1},
        {"client_secret_expires_at": -1},
        {"client_secret_expires_at": True},
        {"client_secret_expires_at": "soon"},
        {"client_secret_expires_at": float("nan")},
        {"client_secret_expires_at": None},
    ],
    ids=str,
)
def test_other_responses_are_rejected(changes: dict[str, Any]) -> None:
    response = SECRET | {"token_endpoint_auth_method": "client_secret_basic"} | changes
    with pytest.raises(UnusableClient) as caught:
        read(response)
    assert caught.value.code is Code.REGISTRATION_UNUSABLE


@each_case(
    ("end", "expires"),
    [
        (0, None),
        (int(NOW) + 600, int(NOW) + 600),
        (NOW + 86_400.5, int(NOW) + 86_400),
        (int(NOW) + LIFETIME_MAX + 1, None),
        (10**30, None),
        (10**400, None),  # too much for a float
        (float("inf"), None),
    ],
)
def test_end_of_a_secret_is_read(end: float, expires: int | None) -> None:
    assert read(SECRET | {"client_secret_expires_at": end}).secret_expires_at == expires


def test_nothing_shows_the_secret_or_the_management_token() -> None:
    response = {"client_id": "c", "client_secret": "the secret"}
    made = read(response | {"registration_access_token": MANAGEMENT_TOKEN})
    assert "the secret" not in repr(made)
    assert MANAGEMENT_TOKEN not in repr(vars(made))
