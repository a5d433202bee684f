"""Connections, in a real Chromium against the whole local stack."""

import json
import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.confirming import confirm
from tests.e2e.signing_in import arrive, log_in, page_without_javascript
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]

IMPORT_USER = "from django.contrib.auth.models import User"
RIGHTMOST = """
Math.max(...Array.from(document.querySelectorAll("main *"), e => e.getBoundingClientRect().right))
"""


def card(page: Page) -> Locator:
    return page.get_by_role("region", name="Connections").get_by_role("listitem").first


def become_at_provider(page: Page, stack: LocalStack, person: str) -> None:
    """Sign out at the provider, whose session outlives the gateway's, and in as somebody else."""
    page.goto(f"http://127.0.0.1:{stack.provider}/logout/")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"http://127.0.0.1:{stack.provider}/login/")
    log_in(page, person)


def forget(stack: LocalStack, person: str) -> None:
    """Have nobody of this name at the gateway: an account that is somebody's is not connected."""
    code = f"User.objects.filter(username={person!r}).delete()"
    deleted = stack.manage("shell", "--verbosity=0", "-c", f"{IMPORT_USER}; {code}")
    assert deleted.returncode == 0, deleted.stderr


def allow(page: Page) -> None:
    """Consent, if the page asks for it."""
    page.wait_for_load_state()
    button = page.get_by_role("button", name="Allow")
    expect(button.or_(page.get_by_role("region", name="Connections"))).to_be_visible()
    if button.is_visible():
        button.click()


def test_what_is_connected_is_shown(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    expect(page).to_have_title(re.compile("Connections"))
    expect(card(page)).to_contain_text("Connected")
    expect(card(page)).to_contain_text("ada@example.com")
    expect(card(page).get_by_text("openid", exact=True)).to_be_hidden()
    card(page).get_by_text("Details").click()
    for scope in ("openid", "profile", "email"):
        expect(card(page).get_by_text(scope, exact=True)).to_be_visible()
    expect(card(page).get_by_role("link", name="Disconnect")).to_have_count(0)


def test_trying_shows_the_userinfo_of_the_person(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    card(page).get_by_role("link", name="Try it provider").click()
    expect(page.get_by_role("status")).to_contain_text("200 OK")
    response = json.loads(page.get_by_role("region", name="The response").inner_text())
    assert response["email"] == "ada@example.com"
    page.get_by_role("link", name="Connections").click()
    expect(card(page)).to_be_visible()


def test_reauthentication_keeps_the_session(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    before = page.context.cookies(stack.url)
    card(page).get_by_role("button", name="Re-authenticate").click()
    allow(page)
    expect(page.get_by_role("status").first).to_contain_text("connected")
    expect(card(page)).to_contain_text("Connected")
    after = page.context.cookies(stack.url)
    names = ("gateway_sessionid",)
    assert [c["value"] for c in before if c["name"] in names] == [
        c["value"] for c in after if c["name"] in names
    ]


def test_second_account_is_connected_and_the_first_disconnected(
    stack: LocalStack, page: Page
) -> None:
    forget(stack, "grace")
    arrive(page, stack)
    become_at_provider(page, stack, "grace")
    page.goto(stack.url)
    card(page).get_by_role("button", name="Re-authenticate").click()
    allow(page)
    expect(card(page)).to_contain_text("grace@example.com used for calls")

    card(page).get_by_role("link", name="Disconnect grace@example.com").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Disconnect Local provider?")
    page.get_by_role("link", name="Cancel").click()
    expect(card(page)).to_contain_text("grace@example.com")
    card(page).get_by_role("link", name="Disconnect grace@example.com").click()
    page.get_by_role("button", name="Disconnect").click()

    expect(page.get_by_role("status").first).to_contain_text("disconnected")
    expect(card(page)).not_to_contain_text("grace@example.com")
    expect(card(page)).to_contain_text("without a token in this session")
    become_at_provider(page, stack, "ada")
    page.goto(stack.url)
    card(page).get_by_role("button", name="Re-authenticate").click()
    allow(page)
    expect(card(page)).to_contain_text("Connected")


def test_page_fits_a_small_screen(stack: LocalStack, browser: Browser) -> None:
    with browser.new_context(viewport={"width": 320, "height": 640}) as context:
        page = context.new_page()
        arrive(page, stack)
        for address in ("/", "/accounts/3rdparty/", "/try/provider/"):
            page.goto(stack.url + address)
            assert page.evaluate("document.documentElement.scrollWidth") == 320
            assert page.evaluate(RIGHTMOST) <= 320


def test_connections_work_without_javascript(stack: LocalStack, browser: Browser) -> None:
    with page_without_javascript(browser) as page:
        arrive(page, stack)
        card(page).get_by_role("button", name="Re-authenticate").click()
        confirm(page.get_by_role("button", name="Continue to Local provider"))
        allow(page)
        card(page).get_by_role("link", name="Try it provider").click()
        expect(page.get_by_role("status")).to_contain_text("200 OK")
