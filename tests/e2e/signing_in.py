"""Ways to be signed in: at the pages as a person does, or by their forms alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.e2e.stack import LocalStack
from tests.local.form import submit


def sign_in(
    page: Page,
    stack: LocalStack,
    person: str = "ada",
    click: Callable[[Locator], None] = Locator.click,
) -> None:
    """Sign in at the pages."""
    page.goto(stack.url)
    click(page.get_by_role("button", name="Sign in with Local provider"))
    log_in(page, person, click)
    click(page.get_by_role("button", name="Allow"))
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def log_in(
    page: Page, person: str = "ada", click: Callable[[Locator], None] = Locator.click
) -> None:
    """Give name and password at the provider."""
    page.get_by_label("Username").fill(person)
    page.get_by_label("Password").fill(person)
    click(page.get_by_role("button", name="Sign in"))


def arrive(page: Page, stack: LocalStack, person: str = "ada") -> None:
    """Be signed in at the home page, where how that came about is not what is tested.

    The forms are sent without a browser, which takes a third of the time.
    """
    with sign_in_by_requests(stack, person) as session:
        give_cookies(page.context, session)
    page.goto(stack.url)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def sign_in_by_requests(stack: LocalStack, person: str = "ada") -> requests.Session:
    """Return a client that has signed in at the provider and at the gateway."""
    session = requests.Session()
    session.trust_env = False
    home = session.get(stack.url, timeout=10)
    login = submit(session, home, follow=True)
    consent = submit(session, login, follow=True, login=person, password=person)
    back = submit(session, consent, follow=True, action="grant")
    assert (back.status_code, back.url) == (200, f"{stack.url}/"), back.text
    return session


def give_cookies(context: BrowserContext, session: requests.Session) -> None:
    """Give a browser a client's cookies, with what protects them."""
    for cookie in session.cookies:
        context.add_cookies(
            [
                {
                    "name": cookie.name,
                    "value": cookie.value or "",
                    "domain": cookie.domain,
                    "path": cookie.path,
                    "httpOnly": cookie.has_nonstandard_attr("HttpOnly"),
                    "sameSite": cookie.get_nonstandard_attr("SameSite"),  # type: ignore[typeddict-item]  # text
                }
            ]
        )


@contextmanager
def page_without_javascript(browser: Browser) -> Iterator[Page]:
    with browser.new_context(java_script_enabled=False) as context:
        yield context.new_page()


def expect_signed_in(page: Page) -> None:
    page.reload()
    expect(page.get_by_role("button", name="Sign out").first).to_be_visible()


def expect_signed_out(page: Page) -> None:
    page.reload()
    expect(page.get_by_role("button", name="Sign in with Local provider")).to_be_visible()
