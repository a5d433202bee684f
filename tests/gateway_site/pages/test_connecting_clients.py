""" "Try it" of an upstream that clients may call says how to connect one, and calls nothing."""

import json
import shlex

import pytest
from django.test import Client
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from tests.gateway_site.support.declared_upstreams import read_people
from tests.gateway_site.support.home_page import status_message
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.clients.support.app import SERVER
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor

# The gateway admits a call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

ISSUER = "https://gateway.example.com"  # not the Host of the requests


@pytest.fixture
def ada(corp: FakeProvider, settings: Settings) -> Visitor:
    """Sign somebody in to a gateway whose upstream `people` clients may call."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"issuer": ISSUER})
    settings.UPSTREAMS = read_people(corp, PATHS="/userinfo", CLIENTS="1")
    visitor = Visitor()
    visitor.sign_in_directly(corp)
    return visitor


def try_connection(visitor: Visitor, query: str = "") -> Element:
    response = visitor.client.get(f"/try/people/{query}", headers={"Host": "testserver"})
    assert response.status_code == 200
    return assert_accessible(response.content.decode())


def copied_texts(page: Element) -> dict[str, str]:
    """Return the text that each button copies, by the button's accessible name."""
    texts = {each.attributes.get("id"): "".join(each.own_text) for each in page.all("code")}
    buttons = [each for each in page.all("button") if "data-copy" in each.attributes]
    return {button.text: texts[button.attributes["data-copy"]] for button in buttons}


@pytest.fixture
def called(corp: FakeProvider) -> list[str]:
    """Note each call that comes to the upstream after the sign-in."""
    found: list[str] = []
    corp.hooks["/userinfo"] = lambda: found.append("GET")
    return found


def test_page_has_the_address_and_a_line_for_each_client(ada: Visitor, called: list[str]) -> None:
    address = f"{ISSUER}/gateway/people/userinfo"
    texts = copied_texts(try_connection(ada))
    assert texts["Copy the address"] == address
    assert shlex.split(texts["Copy for Claude Code"])[:7] == [
        *("claude", "mcp", "add", "--transport", "http", "people", address),
    ]
    assert shlex.split(texts["Copy for Codex"])[-1] == address
    server = json.loads(shlex.split(texts["Copy for VS Code"])[-1])
    assert server == {"name": "people", "type": "http", "url": address}
    cursor = json.loads(texts["Copy for Cursor"])
    assert cursor == {"mcpServers": {"people": {"url": address}}}
    assert called == []


def test_call_is_made_on_request(ada: Visitor, called: list[str]) -> None:
    (link,) = [each for each in try_connection(ada).all("a") if "GET request" in each.text]
    page = try_connection(ada, link.attributes["href"])
    assert status_message(page).startswith("200 OK")
    assert called == ["GET"]
    (again,) = [each for each in page.all("a") if each.text == "Try again"]
    assert again.attributes["href"] == f"/try/people/{link.attributes['href']}"


def test_upstream_without_get_can_be_connected_and_not_called(
    corp: FakeProvider, ada: Visitor, settings: Settings
) -> None:
    settings.UPSTREAMS = read_people(corp, METHODS="POST", CLIENTS="1")
    page = try_connection(ada)
    assert copied_texts(page)["Copy the address"] == f"{ISSUER}/gateway/people"
    assert not [each for each in page.all("a") if "GET request" in each.text]
    assert ada.client.get("/try/people/?call=1").status_code == 404
    assert 'href="/try/people/"' in ada.client.get("/").content.decode()


def test_upstream_is_called_without_oauth_clients(
    ada: Visitor, called: list[str], settings: Settings
) -> None:
    settings.AUTHORIZATION_SERVER = None
    assert status_message(try_connection(ada)).startswith("200 OK")
    assert called == ["GET"]


def test_stranger_is_sent_to_sign_in(ada: Visitor) -> None:
    response = Client().get("/try/people/")
    assert response["Location"] == "/accounts/login/?next=/try/people/"
