"""What the consent page says, in words.

The adversaries are a client that anybody may have made, and a server whose tools have
odd names.
"""

import pytest
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.clients.support.app import SERVER, App
from tests.oauth.support.fixtures import Visitor


@pytest.mark.parametrize("resource", [True, False])
def test_consent_names_at_most_twenty_of_the_allowed_tools(
    ada: Visitor, app: App, settings: Settings, *, resource: bool
) -> None:
    """With markup in a name that an operator has pinned without looking."""
    app.register()
    asked = app.address(**({} if resource else {"resource": None, "scope": None}))
    tools: tuple[str, ...] | None = None

    def find_tools(*_: object) -> tuple[str, ...] | None:
        return tools

    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"find_tools": find_tools})
    assert "only these tools" not in ada.client.get(asked).content.decode()
    tools = ("<b>first", *(f"tool-{each}" for each in range(24)))
    page = ada.client.get(asked).content.decode()
    text = assert_accessible(page).text
    assert "It can use only these tools there:" in text
    assert "&lt;b&gt;first" in page
    assert "tool-18" in text
    assert "tool-19" not in text
    assert "first 20 of 25" in text
    tools = ()
    assert "It can use no tool there." in ada.client.get(asked).content.decode()


def test_deny_comes_first_and_an_unverified_app_is_marked_by_words_and_shape(
    ada: Visitor, app: App
) -> None:
    app.register()
    text = ada.client.get(app.address()).content.decode()
    page = assert_accessible(text)
    decisions = [each for each in page.all("button") if each.attributes.get("name") == "decision"]
    assert [each.text for each in decisions] == ["Deny", "Allow"]
    assert f"<h1>“<bdi>{app.name}</bdi>” wants to use tools as you</h1>" in text
    assert "Unverified app" in page.text
    assert "Anybody can choose this name." in page.text
    assert 'class="avatar square unverified" data-initial="?"' in text
    assert "It never sees your password, or the tokens of your account." in page.text
