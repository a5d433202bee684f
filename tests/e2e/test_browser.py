"""Sign-in, pages and sign-out in a real Chromium against the local stack."""

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.signing_in import sign_in
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.stack]


def test_person_signs_in_sees_the_token_data_and_signs_out(stack: LocalStack, page: Page) -> None:
    sign_in(page, stack)
    main = page.get_by_role("main")
    expect(main).to_contain_text("ada")
    expect(main).to_contain_text("openid")
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies(stack.url)}
    assert cookies["gateway_sessionid"]["httpOnly"]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in with Local provider")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


def test_cookie_copied_before_sign_out_is_worth_nothing_after_it(
    stack: LocalStack, page: Page, visitor: BrowserContext
) -> None:
    sign_in(page, stack)
    [stolen] = [
        cookie for cookie in visitor.cookies(stack.url) if cookie["name"] == "gateway_sessionid"
    ]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in with Local provider")).to_be_visible()
    visitor.add_cookies([{"name": stolen["name"], "value": stolen["value"], "url": stack.url}])
    page.goto(stack.url)
    expect(page.get_by_role("button", name="Sign in with Local provider")).to_be_visible()


def test_everything_works_by_keyboard_alone(stack: LocalStack, page: Page) -> None:
    page.goto(stack.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    button = page.get_by_role("button", name="Sign in with Local provider")
    for _ in range(10):
        page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("Username").press_sequentially("grace")
    page.keyboard.press("Tab")
    page.keyboard.type("grace")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Allow")).to_be_visible()


def test_sign_in_works_without_javascript(stack: LocalStack, browser: Browser) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        sign_in(context.new_page(), stack)
