"""Client authentication at the token endpoint, for the code exchange and refreshes."""

import base64
import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from pytest_django import Settings

import oauth
from oauth.exceptions import ProviderBusy, ProviderUnavailable
from oauth.provider.config import ProviderConfig
from oauth.provider.token_endpoint import ASSERTION_LIFETIME, ASSERTION_TYPE, authenticate_form
from tests.oauth.support.client_keys import KEYS, key_file
from tests.oauth.support.fake_provider import CLIENT_SECRET, FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import assert_no_token, get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack

CLIENT = ProviderConfig(
    name="corp",
    kind="openid_connect",
    label="Corp",
    client_id="gate:way",
    client_secret="a+b/c d:ü",
    issuer="https://login.example.com",
)


def proof(
    provider: ProviderConfig, *methods: str, **more: Any
) -> tuple[dict[str, str], dict[str, str]]:
    endpoint = "https://login.example.com/par"
    return authenticate_form(
        provider,
        {"a": "b"},
        issuer=provider.issuer,
        endpoint=endpoint,
        methods=methods,
        now=int(time.time()),
        **more,
    )


def test_basic_encodes_both_parts() -> None:
    form, headers = proof(CLIENT)
    pair = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "gate%3Away:a%2Bb%2Fc+d%3A%C3%BC"
    assert form == {"a": "b"}


@pytest.mark.parametrize(
    ("methods", "is_basic"),
    [
        ((), True),
        (("client_secret_basic",), True),
        (("client_secret_post", "client_secret_basic"), True),
        (("client_secret_post",), False),
        (("private_key_jwt",), True),
    ],
)
def test_metadata_decides_without_a_setting(methods: tuple[str, ...], is_basic: bool) -> None:
    form, headers = proof(CLIENT, *methods)
    assert ("Authorization" in headers) is is_basic
    assert ("client_secret" in form) is not is_basic


def test_setting_decides_before_metadata() -> None:
    form, headers = proof(replace(CLIENT, auth_method="client_secret_post"), "client_secret_basic")
    assert form == {"a": "b", "client_id": "gate:way", "client_secret": "a+b/c d:ü"}
    assert headers == {}


def test_public_client_sends_only_its_id() -> None:
    assert proof(replace(CLIENT, client_secret="")) == ({"a": "b", "client_id": "gate:way"}, {})


@pytest.mark.parametrize("algorithm", KEYS)
def test_assertion_is_signed_with_the_configured_key(tmp_path: Path, algorithm: str) -> None:
    client = replace(
        CLIENT,
        auth_method="private_key_jwt",
        private_key_file=str(key_file(tmp_path, algorithm)),
        private_key_id="k1",
    )
    form, headers = proof(client, "private_key_jwt")

    assert headers == {}
    assert form["client_assertion_type"] == ASSERTION_TYPE
    assert "client_secret" not in form
    token = form["client_assertion"]
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"]) == (algorithm, "k1")
    assert header["typ"] == "client-authentication+jwt"
    claims = jwt.decode(
        token, KEYS[algorithm].public_key(), [algorithm], audience=CLIENT.issuer, issuer="gate:way"
    )
    assert claims["aud"] == "https://login.example.com"  # a text, and nothing beside it
    assert claims["sub"] == "gate:way"
    assert claims["exp"] - claims["iat"] == ASSERTION_LIFETIME
    assert proof(client)[0]["client_assertion"] != token


@pytest.mark.parametrize(
    "change",
    [{"assertion_audience": "endpoint"}, {"issuer": None}],
    ids=["configured", "no issuer"],
)
def test_assertion_audience_may_be_the_endpoint(tmp_path: Path, change: dict[str, Any]) -> None:
    """As Okta and Entra document it.

    https://support.okta.com/help/s/article/the-audience-claim-for-client-assertion-must-be-the-endpoint-invoked-for-the-request
    https://learn.microsoft.com/entra/identity-platform/certificate-credentials
    """
    client = replace(
        CLIENT,
        auth_method="private_key_jwt",
        private_key_file=str(key_file(tmp_path, "ES256")),
        **change,
    )
    token = proof(client)[0]["client_assertion"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == "https://login.example.com/par"
    assert jwt.get_unverified_header(token)["typ"] == "JWT"


def test_algorithm_is_supported_by_the_provider(tmp_path: Path) -> None:
    client = replace(
        CLIENT,
        auth_method="private_key_jwt",
        private_key_file=str(key_file(tmp_path, "RS256")),
    )
    form, _ = proof(client, algorithms=("PS256",))
    assert jwt.get_unverified_header(form["client_assertion"])["alg"] == "PS256"
    with pytest.raises(ProviderUnavailable):
        proof(client, algorithms=("ES256",))


@pytest.mark.parametrize("content", [None, b"", b"canary-no-key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_unusable_key_is_an_error_that_does_not_show_it(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    client = replace(CLIENT, auth_method="private_key_jwt", private_key_file=str(path))
    with pytest.raises(ProviderUnavailable, match="cannot authenticate itself"):
        proof(client)
    assert "private key of the provider corp cannot be used" in caplog.text
    assert "canary" not in caplog.text


def test_key_that_no_descriptor_is_left_for_is_not_the_key_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Adversary: descriptors run out."""

    def fail(_: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "read_bytes", fail)
    path = str(key_file(tmp_path, "ES256"))
    client = replace(CLIENT, auth_method="private_key_jwt", private_key_file=path)
    with pytest.raises(ProviderBusy):
        proof(client)
    assert "cannot be used" not in caplog.text


def test_secret_is_not_in_the_repr() -> None:
    assert "a+b" not in repr(CLIENT)


# In a whole sign-in and a refresh


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_secret_is_sent_with_the_configured_method(
    corp: FakeProvider, visitor: Visitor, store: Stack, settings: Settings, method: str
) -> None:
    configure(settings, environment("corp", corp, TOKEN_AUTH=method))
    corp.auth_method = method
    corp.more_of_metadata = {"token_endpoint_auth_methods_supported": ["tls_client_auth"]}
    visitor.sign_in(corp)
    store.clock.advance(4000)
    assert get_token(visitor) == stored_tokens(visitor)
    assert len(corp.refreshes) == 1


def test_private_key_authenticates_exchange_and_refresh(
    corp: FakeProvider, visitor: Visitor, store: Stack, settings: Settings, tmp_path: Path
) -> None:
    more = {
        "TOKEN_AUTH": "private_key_jwt",
        "PRIVATE_KEY_FILE": str(key_file(tmp_path, "ES256")),
        "CLIENT_SECRET": "",
    }
    configure(settings, environment("corp", corp, **more))
    corp.auth_method = "private_key_jwt"
    corp.public_key = KEYS["ES256"].public_key()
    visitor.sign_in(corp)
    store.clock.advance(4000)
    assert get_token(visitor) == stored_tokens(visitor)
    assert [claims["iss"] for claims in corp.assertions] == [corp.client_id] * 2
    assert len({claims["jti"] for claims in corp.assertions}) == 2


def test_wrong_client_secret_does_not_require_a_sign_in(
    corp: FakeProvider, expired: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, CLIENT_SECRET="wrong"))
    assert_no_token(expired, oauth.ProviderUnavailable)
    assert corp.refreshes == []
    assert stored_tokens(expired).refresh_token in corp.refresh_tokens
    assert CLIENT_SECRET in corp.secrets
