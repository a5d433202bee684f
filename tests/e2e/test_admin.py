"""Sessions in Django's admin: seen and ended by somebody at a real browser."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.confirming import confirm
from tests.e2e.keyboard import press_until_focused
from tests.e2e.signing_in import (
    arrive,
    expect_signed_in,
    expect_signed_out,
    page_without_javascript,
)
from tests.e2e.stack import LocalStack
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]


@pytest.fixture
def admin(stack: LocalStack, page: Page) -> Page:
    """Give the list of sessions to ada, who signed in as everybody does and is staff."""
    arrive(page, stack)
    page.goto(f"{stack.url}/admin/sessions_kms/session/")
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    return page


@pytest.fixture
def grace(stack: LocalStack, browser: Browser) -> Iterator[Page]:
    """Give the browser of somebody else who is signed in."""
    with browser.new_context() as context:
        page = context.new_page()
        arrive(page, stack, "grace")
        yield page


def result_link(admin: Page, text: str) -> Locator:
    """Search for somebody; give the rows of the list."""
    admin.get_by_role("textbox", name="Search", exact=True).fill(text)
    admin.get_by_role("button", name="Search").click()
    expect(admin.get_by_text("newest first")).to_be_visible()
    return admin.locator("#result_list tbody tr")


def test_own_session_is_marked_and_its_page_shows_its_content(admin: Page) -> None:
    [own] = admin.get_by_role("link", name="(this session)").all()
    own.click()
    expect(admin.get_by_role("heading", name="View session")).to_be_visible()
    expect(admin.locator(".field-content")).to_contain_text("oauth:local")
    expect(admin.get_by_role("button", name="End session")).to_have_count(0)


def test_one_session_is_ended(admin: Page, grace: Page) -> None:
    result_link(admin, "grace@example.com").first.locator("th a").click()
    admin.get_by_role("button", name="End session").click()
    admin.get_by_role("button", name="Yes, I’m sure").click()  # noqa: RUF001 - Django's own text
    expect(admin.locator(".messagelist")).to_have_text("1 session ended.")
    expect_signed_out(grace)


def test_selected_sessions_are_ended_by_keyboard_alone(admin: Page, grace: Page) -> None:
    rows = result_link(admin, "grace")
    expect(rows).not_to_have_count(0)
    press_until_focused(admin, admin.get_by_role("combobox", name="Action"))
    admin.keyboard.type("End selected")
    press_until_focused(admin, admin.locator("#action-toggle"))
    admin.keyboard.press("Space")
    expect(admin.locator(".action-counter")).not_to_contain_text("0 of")
    admin.keyboard.press("Enter")
    yes = admin.get_by_role("button", name="Yes, I’m sure")  # noqa: RUF001 - Django's own text
    expect(yes).to_be_visible()
    press_until_focused(admin, yes)
    expect(yes).to_be_enabled()  # once it has been seen for a second
    admin.keyboard.press("Enter")
    expect(admin.locator(".messagelist")).to_contain_text("ended.")
    expect_signed_out(grace)


def test_all_sessions_of_a_user_are_ended_without_javascript(
    stack: LocalStack, admin: Page, grace: Page, browser: Browser
) -> None:
    with page_without_javascript(browser) as page:
        arrive(page, stack)
        page.goto(f"{stack.url}/admin/sessions_kms/session/?q=grace")
        page.get_by_role("link", name="End all sessions of this user").click()
        confirm(page.get_by_role("button", name="Yes, I’m sure"))  # noqa: RUF001 - Django's own text
        expect(page.locator(".messagelist")).to_contain_text("of grace ended.")
    expect_signed_out(grace)


def test_sessions_before_a_time_are_ended_and_later_ones_are_not(admin: Page, grace: Page) -> None:
    admin.get_by_role("link", name="End all sessions before…").click()
    admin.get_by_text("Today", exact=True).first.click()
    admin.locator("#id_before_1").fill("00:00:00")
    admin.get_by_role("button", name="Continue").click()
    expect(admin.get_by_role("heading", name="End all sessions created up to")).to_be_visible()
    admin.get_by_role("button", name="Yes, I’m sure").click()  # noqa: RUF001 - Django's own text
    expect(admin.locator(".messagelist")).to_contain_text("on every server within a minute")
    expect_signed_in(grace)

    admin.get_by_role("link", name="End all sessions before…").click()
    admin.get_by_text("Today", exact=True).first.click()
    admin.get_by_text("Now", exact=True).first.click()
    now = int(time.time())
    admin.get_by_role("button", name="Continue").click()
    admin.get_by_role("button", name="Yes, I’m sure").click()  # noqa: RUF001 - Django's own text
    expect(admin.get_by_role("button", name="Sign in with Local provider")).to_be_visible()
    expect_signed_out(grace)
    # Who begins to sign in within this second is ended, too: that is another test by now.
    wait_until(lambda: time.time() >= now + 1, "the second is over")
