"""Clients that name no upstream, as old SDKs do: the person chooses."""

from typing import Any

import pytest
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from oauth.sign_in.click_delay import TOO_SOON
from tests.gateway_site.support.page_requests import Element, assert_accessible, parse
from tests.oauth.clients.support.app import ISSUER, RESOURCE, SERVER, App, WayBack, register_app
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.shown import shown_fields

UNNAMED: dict[str, str | None] = {"resource": None, "scope": None}
FILES = f"{ISSUER}/gateway/files"
ALLOW = {"decision": "allow"}


@pytest.fixture
def app(server: AuthorizationServer) -> App:
    return register_app()


def post(visitor: Visitor, address: str, **form: str) -> Any:
    return visitor.client.post(address, ALLOW | shown_fields(visitor.user_id) | form)


def radios(page: Any) -> dict[str, Element]:
    """Return the radio buttons of a page that asks, by their values."""
    assert page.status_code == 200
    found = [
        each
        for each in parse(page.content.decode()).all("input")
        if each.attributes.get("type") == "radio"
    ]
    assert {each.attributes["name"] for each in found} <= {"upstream"}
    return {each.attributes["value"] or "": each for each in found}


def is_led(visitor: Visitor) -> bool:
    return bool(visitor.session.get("socialaccount_states"))


def offer(settings: Settings, **upstreams: str) -> None:
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"upstreams": upstreams})


@pytest.mark.parametrize("scope", [None, "", "offline_access", "openid", "files tools"])
def test_person_chooses_the_upstream_and_none_is_preselected(
    ada: Visitor, app: App, scope: str | None
) -> None:
    # A client cannot choose by the address either.
    page = ada.client.get(app.address(resource=None, scope=scope) + "&upstream=files")
    found = radios(page)
    assert found.keys() == {"tools", "files"}
    for each in found.values():
        assert "checked" not in each.attributes
        assert "disabled" not in each.attributes
        assert "required" in each.attributes
    text = page.content.decode().replace("<wbr>", "")
    assert_accessible(text)
    assert all(address in text for address in (RESOURCE, FILES))


@pytest.mark.parametrize(
    ("name", "address"), [("tools", f"{ISSUER}/gateway/tools"), ("files", FILES)]
)
def test_tokens_are_for_the_upstream_that_was_chosen(
    corp: FakeProvider, ada: Visitor, app: App, name: str, address: str
) -> None:
    led = post(ada, app.address(**UNNAMED), upstream=name)
    back = WayBack.of(ada.client.get(corp.consent(led["Location"])))
    other = FILES if name == "tools" else RESOURCE
    assert app.redeem(back.response["code"], resource=other).json()["error"] == "invalid_target"
    response = app.redeem(back.response["code"], resource=None)
    assert (response.status_code, response.json()["scope"]) == (200, name)
    refresh_token = response.json()["refresh_token"]
    assert app.refresh(refresh_token, resource=other).status_code == 400
    assert app.refresh(refresh_token, resource=address).status_code == 200


WRONG = [
    "",
    "absent",
    "TOOLS",
    "tools ",
    "tools,files",
    "tools files",
    RESOURCE,
    "../tools",
    "None",
]


@pytest.mark.parametrize("choice", [None, *WRONG])
def test_nothing_is_allowed_without_a_valid_choice(
    ada: Visitor, app: App, choice: str | None
) -> None:
    form = {} if choice is None else {"upstream": choice}
    page = post(ada, app.address(**UNNAMED), **form)
    assert radios(page).keys() == {"tools", "files"}
    assert "Nothing was allowed yet" in page.content.decode()
    assert not is_led(ada)


def test_early_choice_is_ignored(ada: Visitor, app: App) -> None:
    address, form = app.address(**UNNAMED), ALLOW | {"upstream": "files"}
    for field in ({}, shown_fields(ada.user_id, ago=0.5)):
        page = ada.client.post(address, form | field)
        assert TOO_SOON.partition(",")[0] in page.content.decode()
        assert all("checked" not in each.attributes for each in radios(page).values())
        assert not is_led(ada)


def test_choice_is_limited_to_the_requested_scope(
    settings: Settings, ada: Visitor, app: App
) -> None:
    offer(settings, tools="corp", files="corp", payroll="corp")
    address = app.address(resource=None, scope="tools files")
    page = post(ada, address, upstream="payroll")
    assert radios(page).keys() == {"tools", "files"}
    assert not is_led(ada)


@pytest.mark.parametrize("named", [{}, {"resource": None, "scope": "tools"}])
def test_request_with_an_upstream_shows_no_choice(
    corp: FakeProvider, ada: Visitor, app: App, named: dict[str, str | None]
) -> None:
    assert radios(ada.client.get(app.address(**named))) == {}
    led = post(ada, app.address(**named), upstream="files")
    back = WayBack.of(ada.client.get(corp.consent(led["Location"])))
    assert app.redeem(back.response["code"], resource=None).json()["scope"] == "tools"


def test_single_upstream_needs_no_choice(
    settings: Settings, corp: FakeProvider, ada: Visitor, app: App
) -> None:
    offer(settings, files="corp")
    assert radios(ada.client.get(app.address(**UNNAMED))) == {}
    led = post(ada, app.address(**UNNAMED))
    back = WayBack.of(ada.client.get(corp.consent(led["Location"])))
    assert app.redeem(back.response["code"], resource=None).json()["scope"] == "files"


def test_choices_of_two_tabs_and_two_clients_do_not_mix(
    corp: FakeProvider, ada: Visitor, app: App
) -> None:
    other = register_app(name="Other", redirect_uri="http://127.0.0.1:9999/callback")
    ways = {"files": app, "tools": other}
    led = {name: post(ada, each.address(**UNNAMED), upstream=name) for name, each in ways.items()}
    for name, each in reversed(ways.items()):
        back = WayBack.of(ada.client.get(corp.consent(led[name]["Location"])))
        assert back.address == each.redirect_uri
        assert each.redeem(back.response["code"], resource=None).json()["scope"] == name


@pytest.mark.parametrize("left", [{"tools": "corp"}, {"tools": "corp", "wiki": "corp"}])
def test_choice_that_is_no_longer_offered_issues_nothing(
    settings: Settings, corp: FakeProvider, ada: Visitor, app: App, left: dict[str, str]
) -> None:
    led = post(ada, app.address(**UNNAMED), upstream="files")
    offer(settings, **left)
    back = WayBack.of(ada.client.get(corp.consent(led["Location"])))
    assert back.response["error"] == "invalid_target"
    assert "code" not in back.response


def test_upstream_added_meanwhile_is_not_part_of_the_consent(
    settings: Settings, corp: FakeProvider, ada: Visitor, app: App
) -> None:
    offer(settings, tools="corp")
    led = post(ada, app.address(**UNNAMED))
    offer(settings, aaa="corp", tools="corp")
    back = WayBack.of(ada.client.get(corp.consent(led["Location"])))
    assert back.response["error"] == "invalid_target"


def test_upstream_whose_account_is_not_connected_cannot_be_chosen(
    settings: Settings, other: FakeProvider, ada: Visitor, app: App
) -> None:
    offer(settings, tools="corp", files="other")
    address = app.address(**UNNAMED)
    page = ada.client.get(address)
    assert {name: "disabled" in each.attributes for name, each in radios(page).items()} == {
        "tools": False,
        "files": True,
    }
    assert_accessible(page.content.decode())
    assert b"Connect Other first" in page.content
    assert radios(post(ada, address, upstream="files"))
    assert not is_led(ada)
    ada.connect(other)
    led = post(ada, address, upstream="files")
    assert led["Location"].startswith(other.issuer)
    back = WayBack.of(ada.client.get(other.consent(led["Location"])))
    assert app.redeem(back.response["code"], resource=None).json()["scope"] == "files"


@pytest.mark.parametrize("wrong", [{"code_challenge": None}, {"response_type": "token"}])
def test_invalid_request_gets_an_error_instead_of_a_choice(
    ada: Visitor, app: App, wrong: dict[str, str | None]
) -> None:
    page = ada.client.get(app.address(**UNNAMED | wrong))
    assert "error=" in page.content.decode()
    assert b'type="radio"' not in page.content
