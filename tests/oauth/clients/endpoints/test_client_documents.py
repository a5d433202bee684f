"""Apps that are known by a document, from the consent to the end of their grant."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pytest_django import Settings

from oauth.clients import metadata_documents
from oauth.network.responses import ProviderResponse
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.clients.support.app import App, WayBack, list_client
from tests.oauth.clients.support.asserted import lives
from tests.oauth.clients.support.consent import TYPED, allow
from tests.oauth.clients.support.keyed_app import Key
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor

# As published in September 2026; before, without the list of methods.
CHATGPT: dict[str, Any] = {
    "client_id": "https://chatgpt.com/oauth/client.json",
    "client_uri": "https://chatgpt.com/",
    "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
    "token_endpoint_auth_method": "private_key_jwt",
    "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "client_name": "ChatGPT",
    "token_endpoint_auth_signing_alg": "RS256",
    "jwks_uri": "https://chatgpt.com/oauth/jwks.json",
}

Publish = Callable[[dict[str, Any]], list[str]]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Serve one document; return the addresses that are fetched."""

    def serve(document: dict[str, Any]) -> list[str]:
        fetched: list[str] = []

        def get(address: str) -> ProviderResponse:
            fetched.append(address)
            return ProviderResponse(200, "application/json", json.dumps(document).encode())

        fetcher = metadata_documents.DocumentFetcher(get)
        monkeypatch.setattr(metadata_documents, "_fetcher", fetcher)
        return fetched

    return serve


@pytest.fixture
def chatgpt(app: App) -> App:
    app.client_id, (app.redirect_uri,) = CHATGPT["client_id"], CHATGPT["redirect_uris"]
    return app


def test_chatgpt_signs_in_as_a_public_client_and_its_key_is_not_fetched(
    ada: Visitor, corp: FakeProvider, chatgpt: App, publish: Publish
) -> None:
    fetched = publish(CHATGPT)
    page = ada.client.get(chatgpt.address(), headers=TYPED).content.decode()
    assert_accessible(page)
    assert "ChatGPT" in page
    assert "chatgpt.com" in page
    response = chatgpt.redeem(WayBack.of(allow(ada, chatgpt, corp)).response["code"])
    assert response.status_code == 200, response.content
    first = response.json()
    assert lives(first)
    second = chatgpt.refresh(first["refresh_token"]).json()
    assert lives(second)
    form = {"client_id": chatgpt.client_id, "token": second["refresh_token"]}
    assert chatgpt.post("/oauth/revoke", form).status_code == 200
    assert not lives(second)
    assert set(fetched) == {CHATGPT["client_id"]}


@pytest.mark.parametrize("has_keys", [False, True])
def test_pinned_chatgpt_signs_in_with_and_without_its_keys_in_the_entry(
    ada: Visitor,
    corp: FakeProvider,
    chatgpt: App,
    publish: Publish,
    settings: Settings,
    *,
    has_keys: bool,
) -> None:
    """The metadata lists `private_key_jwt`, so ChatGPT sends assertions that an entry without
    keys cannot verify: such an entry is public, and its grant no weaker for it."""
    fetched, key = publish(CHATGPT), Key(rsa.generate_private_key(65537, 2048), algorithm="RS256")
    entry = {name: CHATGPT[name] for name in ("client_id", "client_name", "redirect_uris")}
    entry |= {"jwks": {"keys": [key.jwk]}} if has_keys else {}
    list_client(settings, entry)

    def proof() -> dict[str, str]:
        return key.proof(iss=chatgpt.client_id, sub=chatgpt.client_id)

    code = WayBack.of(allow(ada, chatgpt, corp)).response["code"]
    response = chatgpt.redeem(code, **proof())
    assert response.status_code == 200, response.content
    response = chatgpt.refresh(response.json()["refresh_token"], **proof())
    assert lives(response.json())
    without = chatgpt.refresh(response.json()["refresh_token"])
    assert without.status_code == (401 if has_keys else 200)
    form = {"client_id": chatgpt.client_id, "token": response.json()["refresh_token"]} | proof()
    assert chatgpt.post("/oauth/revoke", form).status_code == 200
    assert not lives(response.json())
    assert fetched == []


@pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_post"])
def test_page_names_the_methods_of_a_document_that_supports_none_of_ours(
    ada: Visitor, chatgpt: App, publish: Publish, method: str
) -> None:
    document = CHATGPT | {"token_endpoint_auth_method": method}
    del document["token_endpoint_auth_methods_supported"]
    publish(document)
    response = ada.client.get(chatgpt.address(), headers=TYPED)
    assert response.status_code == 400
    assert f"It supports: {method}." in response.content.decode()
    assert_accessible(response.content.decode())
