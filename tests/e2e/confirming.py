"""Press a button that counts once it has been seen for a second, or that ends everything."""

import re

from playwright.sync_api import Locator, Page

from oauth.sign_in.click_delay import DELAY, TOO_SOON


def show_ending(page: Page, name: str) -> Locator:
    """Open what a list offers to do with all entries, unless it is; return the button in it."""
    button = page.get_by_role("button", name=name)
    if not button.is_visible():
        page.locator("summary", has_text=name).click()
    return button


def confirm(button: Locator) -> None:
    """Press it as a person does, and wait for the page that follows.

    Without scripts the server alone counts the second: a press that came too soon is repeated
    after one.
    """
    page = button.page
    button = button.or_(
        page.get_by_role("button", name=re.compile("^Continue to "))
    )  # a page later
    too_soon = page.get_by_text(TOO_SOON.partition(",")[0])
    button.first.scroll_into_view_if_needed()  # It counts from when it has been in view.
    while True:
        with page.expect_navigation():
            button.first.click()
        if not too_soon.is_visible():
            return
        page.wait_for_timeout(DELAY * 1000)  # The page was shown again; a person reads it.
        if not button.first.is_visible():
            page.locator("summary", has_text="…").click()
