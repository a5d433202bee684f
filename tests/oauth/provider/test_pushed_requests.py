"""Authorization requests are pushed where the provider or the configuration wants it (RFC 9126)."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django import Settings

from oauth.sign_in import oauth2_adapter
from tests.oauth.support.client_keys import KEYS, key_file
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.provider_failures import (
    CANARY,
    NONSENSE,
    assert_provider_is_down,
    respond_with,
)
from tests.oauth.support.requests import stored_tokens


def query_of(response: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(response["Location"]).query)


def test_required_request_is_pushed_and_only_its_reference_is_shown(
    strict: FakeProvider, visitor: Visitor
) -> None:
    strict.requires_par = True
    assert set(query_of(visitor.start())) == {"client_id", "request_uri"}

    visitor.sign_in(strict)

    assert stored_tokens(visitor).access_token in strict.secrets
    pushed = strict.pushes[-1]
    assert {"state", "nonce", "code_challenge", "scope", "redirect_uri"} <= set(pushed)
    assert pushed["response_type"] == "code"


@pytest.mark.parametrize(
    ("setting", "required"), [("", False), ("auto", False), ("1", False), ("0", True)]
)
def test_setting_decides_before_the_metadata(
    strict: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    setting: str,
    required: bool,
) -> None:
    is_pushed = setting == "1"
    strict.requires_par = required
    configure(settings, environment("corp", strict, PAR=setting))
    assert ("request_uri" in query_of(visitor.start())) is is_pushed
    assert len(strict.pushes) == is_pushed


def test_push_authenticates_with_the_private_key_for_the_issuer(
    strict: FakeProvider, visitor: Visitor, settings: Settings, tmp_path: Any
) -> None:
    more = {
        "PAR": "1",
        "TOKEN_AUTH": "private_key_jwt",
        "PRIVATE_KEY_FILE": str(key_file(tmp_path, "ES256")),
        "CLIENT_SECRET": "",
    }
    configure(settings, environment("corp", strict, **more))
    strict.auth_method, strict.public_key = "private_key_jwt", KEYS["ES256"].public_key()
    visitor.sign_in(strict)
    assert visitor.load_tokens() is not None
    assert len({claims["jti"] for claims in strict.assertions}) == 2  # the push, the exchange


@pytest.mark.parametrize(
    "response",
    [
        *[NONSENSE[what] for what in ("server error", "redirect", "no json", "null", "huge")],
        respond_with(201, b"{}"),
        respond_with(201, b'{"request_uri": ["urn:a"]}'),
        respond_with(201, b'{"request_uri": "urn: a"}'),
        respond_with(201, json.dumps({"request_uri": "u" * 3000}).encode()),
    ],
)
def test_unreadable_push_response_shows_an_error_page(
    strict: FakeProvider, visitor: Visitor, response: Any
) -> None:
    strict.requires_par = True
    strict.failing["/par"] = response
    assert_provider_is_down(visitor.start())


def test_missing_push_endpoint_shows_an_error_page(strict: FakeProvider, visitor: Visitor) -> None:
    strict.requires_par = True
    strict.more_of_metadata = {"pushed_authorization_request_endpoint": None}
    assert_provider_is_down(visitor.start())


def test_rejected_push_shows_a_page_without_the_providers_text(
    strict: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    strict.requires_par = True
    body = json.dumps({"error": "invalid_request", "error_description": CANARY}).encode()
    strict.failing["/par"] = respond_with(400, body)
    response = visitor.start()
    assert response.status_code == 401
    assert CANARY not in response.content.decode() + caplog.text
    assert "par_refused" in response.content.decode()
    assert "par_refused" in caplog.text


def test_concurrent_pushes_are_bounded(
    strict: FakeProvider, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.requires_par = True
    monkeypatch.setattr(oauth2_adapter.exchanges, "_maximum", 0)
    response = visitor.start()
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert strict.pushes == []
