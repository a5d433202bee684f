"""A page that is used without a mouse."""

from playwright.sync_api import Locator, Page

MOST = 80  # presses: the admin's list has many links


def press_until_focused(page: Page, wanted: Locator) -> None:
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("The keyboard does not get there.")
