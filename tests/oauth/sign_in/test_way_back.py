"""Redirects after a sign-in, to the page requested before."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.internal import statekit
from pytest_django import Settings

from tests.local.form import Form
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor

WANTED = "/try/echo/?path=/a&x=1%262"
SIGN_IN = "/accounts/login/"


def next_of(response: Any) -> str | None:
    """The way on of the sign-in page that a response leads to."""
    parts = urlsplit(response["Location"])
    assert parts.path == SIGN_IN
    found = parse_qs(parts.query).get("next")
    return found[0] if found else None


def grow_old(visitor: Visitor) -> None:
    """Let the sign-ins that wait for the provider have waited for too long."""
    session = visitor.session
    states = session[statekit.STATES_SESSION_KEY]
    session[statekit.STATES_SESSION_KEY] = {
        name: (state, began - statekit.STATE_TTL - 1, provider)
        for name, (state, began, provider) in states.items()
    }
    session.save()


def test_page_that_needs_a_sign_in_is_shown_after_it_with_its_query(
    corp: FakeProvider, visitor: Visitor
) -> None:
    led = visitor.client.get(WANTED)
    page = visitor.client.get(led["Location"])
    started = visitor.client.post(Form(page.content.decode()).action)
    assert visitor.client.get(corp.consent(started["Location"]))["Location"] == WANTED


def test_tabs_that_sign_in_side_by_side_each_come_to_their_page(
    corp: FakeProvider, visitor: Visitor
) -> None:
    wanted = [f"/sessions/?tab={number}&x=%26" for number in range(3)]
    tabs = [visitor.callback_address(corp, next=each) for each in wanted]
    for at in (1, 0, 2):
        assert visitor.client.get(tabs[at])["Location"] == wanted[at]


@pytest.mark.parametrize("of", ["repeated", "unknown", "missing", "of another provider"])
def test_callback_without_a_state_of_this_browser_does_not_sign_in(
    of: str, corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    used = visitor.callback_address(corp)
    visitor.sign_in(corp)
    elsewhere = Visitor().callback_address(corp)
    strange = {
        "repeated": used,
        "unknown": elsewhere,
        "missing": used.partition("&state=")[0],
        "of another provider": visitor.callback_address(corp).replace("/corp/", "/other/"),
    }[of]
    if of == "repeated":
        visitor.client.get(used)
    before = visitor.user_id, visitor.load_tokens()
    asked = len(corp.authorizations) + len(corp.codes)

    response = visitor.client.get(strange)

    assert (response.status_code, response["Location"]) == (302, "/")
    assert (visitor.user_id, visitor.load_tokens()) == before
    stranger = Visitor()
    led = stranger.client.get(strange)
    assert (led.status_code, next_of(led)) == (302, None)
    assert stranger.user_id is None
    assert "Please try again" in stranger.client.get(led["Location"]).content.decode()
    assert len(corp.authorizations) + len(corp.codes) == asked


def test_late_callback_redirects_to_its_page_without_a_sign_in(
    corp: FakeProvider, visitor: Visitor
) -> None:
    late = visitor.callback_address(corp, next=WANTED)
    grow_old(visitor)
    led = visitor.client.get(late)
    assert next_of(led) == WANTED
    assert visitor.user_id is None
    visitor.sign_in(corp)
    late = visitor.callback_address(corp, next=WANTED)
    grow_old(visitor)
    held = visitor.load_tokens()
    assert visitor.client.get(late)["Location"] == WANTED
    assert visitor.load_tokens() == held


def test_late_callback_connects_nothing_and_explains_it(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    late = signed_in.callback_address(corp, process="connect")
    grow_old(signed_in)
    led = signed_in.client.get(late)
    assert led["Location"] == "/"
    assert "nothing was connected" in signed_in.client.get("/").content.decode()


def test_sign_in_that_fails_or_is_cancelled_may_be_tried_again_on_its_way(
    corp: FakeProvider, visitor: Visitor
) -> None:
    started = visitor.start(next=WANTED)
    denied = visitor.client.get(corp.consent(started["Location"], error="access_denied"))
    pages = [visitor.client.get(denied["Location"])]
    failed = visitor.callback_address(corp, next=WANTED)
    pages.append(visitor.client.get(failed.replace("code=", "code=x")))
    corp.failing["/token"] = lambda: (500, "text/plain", b"")
    pages.append(visitor.client.get(visitor.callback_address(corp, next=WANTED)))
    for page in pages:
        [link] = [
            line for line in page.content.decode().split('href="') if line.startswith(SIGN_IN + "?")
        ]
        address = link.partition('"')[0].replace("&amp;", "&")
        assert parse_qs(urlsplit(address).query)["next"] == [WANTED]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example/",
        "\\\\evil.example",
        "http:///evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        " https://evil.example/",
        "/\t/evil.example/",
        "https://sibling.example.com/",
    ],
)
def test_no_redirect_leads_to_another_site(
    target: str, corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = [".example.com", "testserver"]
    late = visitor.callback_address(corp, next=target)
    assert visitor.client.get(late)["Location"] == "/"
    assert visitor.client.get(SIGN_IN, {"next": target})["Location"] == "/"
    assert visitor.client.get("/continue/", {"to": target}).status_code == 404
