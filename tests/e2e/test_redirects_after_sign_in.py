"""Redirects after a sign-in in a real Chromium, without loops."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.signing_in import log_in
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.stack]

BUTTON = "Sign in with Local provider"
CALL = "/gateway/provider/identity/o/api/userinfo?a=1%262&b=2"


def consent(page: Page) -> None:
    page.get_by_role("button", name="Allow").click()


def test_tabs_that_sign_in_side_by_side_each_come_to_their_page(
    stack: LocalStack, visitor: BrowserContext
) -> None:
    tabs = [visitor.new_page(), visitor.new_page()]
    wanted = [f"{stack.url}/sessions/?tab={number}&x=%26" for number in range(2)]
    for tab, address in zip(tabs, wanted, strict=True):
        tab.goto(address)
        tab.get_by_role("button", name=BUTTON).click()
        expect(tab.get_by_label("Username")).to_be_visible()
    log_in(tabs[0])
    expect(tabs[0].get_by_role("button", name="Allow")).to_be_visible()
    tabs[1].reload()  # the provider knows its person by now
    for tab, address in reversed([*zip(tabs, wanted, strict=True)]):
        consent(tab)
        tab.wait_for_url(address)
        expect(tab.get_by_role("heading", name="Your sessions")).to_be_visible()
    tabs[0].reload()
    expect(tabs[0].get_by_role("banner").get_by_role("button", name="Sign out")).to_be_visible()


def test_call_that_needed_a_sign_in_is_made_when_its_person_chooses_to(
    stack: LocalStack, page: Page
) -> None:
    page.goto(f"{stack.url}{CALL}")
    page.get_by_role("button", name=BUTTON).click()
    log_in(page)
    consent(page)
    expect(page.get_by_role("heading", name="You are signed in")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(CALL)
    with page.expect_response(f"{stack.url}{CALL}") as answered:
        page.get_by_role("link", name="Call it now").click()
    assert answered.value.status == 200
    assert json.loads(answered.value.text())["email"] == "ada@example.com"


def test_going_back_to_a_used_callback_redirects_to_the_home_page(
    stack: LocalStack, page: Page
) -> None:
    responses: list[str] = []
    page.on(
        "request", lambda sent: responses.append(sent.url) if "/callback/?" in sent.url else None
    )
    page.goto(stack.url)
    page.get_by_role("button", name=BUTTON).click()
    log_in(page)
    consent(page)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.goto(responses[0])
    assert page.url == f"{stack.url}/"
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.fixture
def straight(tmp_path: Path) -> Iterator[LocalStack]:
    stack = LocalStack(tmp_path / "state", SKIP_PROVIDER_BUTTON="1", SITE_NAME="Ada's tools")
    with stack.running():
        yield stack


@pytest.mark.long
def test_button_is_skipped_but_never_after_a_sign_out(
    straight: LocalStack, browser: Browser
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.goto(f"{straight.url}/sessions/?a=1&b=2")
        log_in(page)
        consent(page)
        page.wait_for_url(f"{straight.url}/sessions/?a=1&b=2")
        assert page.title().endswith("Ada's tools")

        page.get_by_role("banner").get_by_role("button", name="Sign out").click()
        # With the provider too, by single logout, or here alone: neither leads in again.
        expect(page.get_by_role("button", name=BUTTON)).to_be_visible()
        for address in ("/", "/sessions/", "/accounts/login/"):
            page.goto(straight.url + address)
            expect(page.get_by_role("button", name=BUTTON)).to_be_visible()
        page.go_back()
        page.reload()
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)

        page.goto(straight.url)
        page.get_by_role("button", name=BUTTON).click()
        log_in(page)
        consent(page)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        context.clear_cookies(name="gateway_sessionid")  # it ran out
        page.goto(straight.url)
        expect(page.get_by_role("button", name="Allow")).to_be_visible()
