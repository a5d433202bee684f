"""The list of a person's sessions, in several real browsers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.confirming import confirm, show_ending
from tests.e2e.keyboard import press_until_focused
from tests.e2e.signing_in import (
    arrive,
    expect_signed_in,
    expect_signed_out,
    page_without_javascript,
    sign_in,
)
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]

Elsewhere = Callable[[], Page]
ALL_OTHERS = "End all other sessions and apps"


@pytest.fixture
def elsewhere(browser: Browser, stack: LocalStack) -> Iterator[Elsewhere]:
    """Sign in as ada in further browsers, each with cookies of its own."""
    with ExitStack() as opened:

        def another() -> Page:
            context = browser.new_context()
            opened.callback(context.close)
            page = context.new_page()
            show_sessions(page, stack)
            return page

        yield another


def show_sessions(page: Page, stack: LocalStack) -> None:
    """Sign in, and go from the home page to the list."""
    arrive(page, stack)
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("heading", name="Your sessions")).to_be_visible()


def rows(page: Page) -> Locator:
    return page.get_by_role("region", name="Your sessions").get_by_role("listitem")


def end_all_others(page: Page) -> None:
    """Leave only the session of this page: those of earlier tests are still there."""
    page.reload()
    if page.locator("summary", has_text=ALL_OTHERS).count():
        confirm(show_ending(page, ALL_OTHERS))
        expect(page.get_by_role("status").first).to_contain_text("ended")
    expect(rows(page)).to_have_count(1)


def test_other_browser_is_signed_out_from_here(
    stack: LocalStack, page: Page, elsewhere: Elsewhere
) -> None:
    show_sessions(page, stack)
    end_all_others(page)
    there, third = elsewhere(), elsewhere()
    short_id = rows(there).filter(has_text="This browser").locator("code").last.text_content()

    page.reload()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name=f"End session {short_id}").click()

    expect(page.get_by_role("status").first).to_have_text("The session has been ended.")
    expect(rows(page)).to_have_count(2)
    expect_signed_out(there)
    expect_signed_in(third)


def test_all_other_browsers_are_signed_out_at_once(
    stack: LocalStack, page: Page, elsewhere: Elsewhere
) -> None:
    show_sessions(page, stack)
    end_all_others(page)
    others = [elsewhere(), elsewhere()]
    page.reload()
    confirm(show_ending(page, ALL_OTHERS))
    expect(page.get_by_role("status").first).to_have_text("2 other sessions have been ended.")
    for other in others:
        expect_signed_out(other)
    expect_signed_in(page)
    expect(rows(page)).to_have_count(1)
    expect(page.locator("summary", has_text=ALL_OTHERS)).to_have_count(0)


IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)


def test_phone_and_laptop_are_distinguished_and_the_other_is_ended(
    stack: LocalStack, browser: Browser
) -> None:
    with ExitStack() as opened:
        laptop, phone = (browser.new_context(user_agent=each) for each in (None, IPHONE))
        opened.callback(laptop.close)
        opened.callback(phone.close)
        here, there = laptop.new_page(), phone.new_page()
        sign_in(here, stack)
        here.goto(f"{stack.url}/sessions/")
        end_all_others(here)
        sign_in(there, stack)
        here.reload()
        headings = rows(here).get_by_role("heading")
        expect(headings).to_have_text(["Chrome on Linux This browser", "Safari on iPhone"])
        for row in rows(here).all():
            expect(row).to_contain_text("Signed in with Local provider")
        confirm(show_ending(here, ALL_OTHERS))
        expect(rows(here)).to_have_count(1)
        expect_signed_out(there)
        expect_signed_in(here)


def test_present_session_is_ended_by_signing_out(stack: LocalStack, page: Page) -> None:
    show_sessions(page, stack)
    rows(page).filter(has_text="This browser").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in with Local provider")).to_be_visible()


def test_session_is_ended_by_keyboard_alone(
    stack: LocalStack, page: Page, elsewhere: Elsewhere
) -> None:
    show_sessions(page, stack)
    end_all_others(page)
    there = elsewhere()
    page.reload()
    press_until_focused(page, page.locator("summary", has_text=ALL_OTHERS))
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name=ALL_OTHERS)
    expect(button).to_be_focused()
    assert button.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    expect(button).to_be_enabled()  # once it has been seen for a second
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("One other session has been ended.")
    expect_signed_out(there)


def test_sessions_are_ended_without_javascript(
    stack: LocalStack, browser: Browser, elsewhere: Elsewhere
) -> None:
    there = elsewhere()
    with page_without_javascript(browser) as page:
        show_sessions(page, stack)
        confirm(show_ending(page, ALL_OTHERS))
        expect(page.get_by_role("status").first).to_contain_text("ended")
    expect_signed_out(there)
