"""The official MCP SDK signs in to the gateway from nothing: each step over HTTP, by its own rules.

A person signs in, consents and comes back as a browser would, by the forms of the pages.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

from oauth.sign_in.click_delay import FIELD
from tests.gateway_site.forwarding.conftest import tools
from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.mcp_clients import text_of
from tests.gateway_site.support.page_requests import Element, parse
from tests.gateway_site.support.signing_in import TIMEOUT, Visitor
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.shown import age_field

__all__ = ["tools"]
REDIRECT_URI = "http://127.0.0.1:45671/callback"


@dataclass
class Storage:
    """What a client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Person:
    """Somebody at a browser, who allows what they are asked."""

    gateway: Gateway
    provider: FakeProvider
    came_back: list[str] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.browser = Visitor(self.gateway).client

    async def open(self, url: str) -> None:
        """Open the address that a client asks for, and go on until it leads back to it."""
        response = self.browser.get(url, timeout=TIMEOUT)
        if urlsplit(response.url).path == "/accounts/login/":
            response = self.press(response, "Corp")
        self.asked += 1
        response = self.press(response, "Allow")
        (refresh,) = [
            each
            for each in parse(response.text).all("meta")
            if each.attributes.get("http-equiv") == "refresh"
        ]
        self.came_back.append(refresh.attributes["content"].partition("url=")[2])

    async def wait_for_code(self) -> AuthorizationCodeResult:
        query = {k: v[0] for k, v in parse_qs(urlsplit(self.came_back[-1]).query).items()}
        return AuthorizationCodeResult(
            code=query["code"], state=query["state"], iss=query.get("iss")
        )

    def press(self, page: Any, label: str) -> Any:
        """Press a button, and go where its form leads: to the provider and back."""
        assert f"{label}" in page.text, (page.status_code, page.url, page.text)
        form, button = find_with_form(parse(page.text), lambda each: label in each.text)
        fields = {
            each.attributes["name"]: each.attributes["value"]
            for each in [*form.all("input"), button]
            if "name" in each.attributes
        }
        address = urljoin(page.url, form.attributes["action"])
        if FIELD in fields:
            fields[FIELD] = age_field(fields[FIELD])
        led = self.browser.post(address, fields, allow_redirects=False, timeout=TIMEOUT)
        assert led.status_code == 302, led.text
        callback = self.provider.consent(led.headers["Location"])
        return self.browser.get(callback, timeout=TIMEOUT)


def find_with_form(page: Element, matches: Callable[[Element], bool]) -> tuple[Element, Element]:
    """Return a form and its button."""
    (pair,) = [
        (form, button)
        for form in page.all("form")
        for button in form.all("button")
        if matches(button)
    ]
    return pair


def oauth_provider_of(person: Person, storage: Storage) -> OAuthClientProvider:
    """Be a client that knows the server's address, and what it kept."""
    return OAuthClientProvider(
        server_url=f"{person.gateway.url}/gateway/mcp",
        client_metadata=OAuthClientMetadata.model_validate(
            {"client_name": "SDK", "redirect_uris": [REDIRECT_URI]}
        ),
        storage=storage,
        redirect_handler=person.open,
        callback_handler=person.wait_for_code,
    )


async def call_a_tool(auth: OAuthClientProvider, mode: str = "auto") -> str:
    url = auth.context.server_url
    async with httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            return text_of(await client.call_tool("whoami"))


@pytest.fixture
def person(tools: Gateway, provider: FakeProvider) -> Person:
    return Person(tools, provider)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_client_signs_in_from_nothing_and_calls_a_tool(person: Person, mode: str) -> None:
    storage = Storage()
    authorization = await call_a_tool(oauth_provider_of(person, storage), mode)
    assert authorization.removeprefix("Bearer ") in person.provider.secrets
    assert person.asked == 1
    assert storage.client is not None
    assert str(storage.client.client_id).startswith("dcr.")
    assert storage.tokens is not None
    assert storage.tokens.scope == "mcp offline_access"
    # Another run uses the stored tokens.
    assert await call_a_tool(oauth_provider_of(person, storage), mode) == authorization
    assert person.asked == 1


@pytest.mark.slow
async def test_client_whose_grant_has_ended_signs_in_once_more(person: Person) -> None:
    storage = Storage()
    first = await call_a_tool(oauth_provider_of(person, storage))
    assert storage.tokens is not None
    assert storage.client is not None
    form = {"token": storage.tokens.access_token, "client_id": str(storage.client.client_id)}
    response = person.browser.post(f"{person.gateway.url}/oauth/revoke", form, timeout=TIMEOUT)
    assert response.status_code == 200
    second = await call_a_tool(oauth_provider_of(person, storage))
    assert second != first
    assert person.asked == 2


async def test_client_whose_access_token_has_expired_refreshes_silently(person: Person) -> None:
    storage = Storage()
    auth = oauth_provider_of(person, storage)
    authorization = await call_a_tool(auth)
    assert storage.tokens is not None
    before = storage.tokens.access_token
    auth.context.token_expiry_time = 1.0
    assert await call_a_tool(auth) == authorization
    assert storage.tokens.access_token != before
    assert person.asked == 1
