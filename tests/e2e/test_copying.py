"""Copy buttons, in a real Chromium."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.signing_in import arrive
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]


def test_address_of_an_upstream_is_copied_and_said(stack: LocalStack, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.url)
    arrive(page, stack)
    page.goto(f"{stack.url}/try/demo/")
    page.get_by_role("button", name="Copy the address").click()
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{stack.url}/gateway/demo"


def test_text_is_selected_where_it_cannot_be_copied(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    page.goto(f"{stack.url}/try/demo/")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject('denied') }")
    page.get_by_role("button", name="Copy for Codex").click()
    expect(page.get_by_role("status")).to_contain_text("Ctrl+C")
    selected = page.evaluate("getSelection().toString()")
    assert selected == f"codex mcp add demo --url {stack.url}/gateway/demo"


def test_without_javascript_there_is_no_button_that_does_nothing(
    stack: LocalStack, browser: Browser
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        arrive(page, stack)
        page.goto(f"{stack.url}/try/demo/")
        expect(page.get_by_text(f"{stack.url}/gateway/demo", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)
