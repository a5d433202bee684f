"""Pages of other sites lead to clients whose documents are not cached, in a real Chromium.

`localhost` and `127.0.0.1` are two sites to it, two ports of one of them are one site. What
Chromium says of a navigation is its own word, along redirects as well; the gateway is the local
stack's, which fetches documents by TLS.
"""

from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.clients import consent_address
from tests.e2e.hostile_page import hostile_page
from tests.e2e.signing_in import arrive, log_in
from tests.e2e.stack import LocalStack
from tests.gateway_site.support.client_tokens import REDIRECT_URI
from tests.gateway_site.support.documents import HOST, DocumentSite, address_of

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.slow]


def page_that_leads_to(address: str, host: str) -> AbstractContextManager[str]:
    """Serve a page of another origin that leads to an address by itself; return its own."""
    return hostile_page(f"<script>location.replace({address!r})</script>", host)


def ask_for(stack: LocalStack, path: str) -> str:
    """Return the address by which the client of a document asks for consent."""
    return consent_address(stack, address_of(path), REDIRECT_URI)


def expect_page_before(page: Page) -> None:
    expect(page.get_by_role("heading", name="Continue to an app?")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(HOST)


def expect_consent(page: Page) -> None:
    expect(page.get_by_role("heading", name="wants to use")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(f"Verified app of {HOST}")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_page_of_another_origin_has_nothing_fetched_until_the_person_clicks(
    stack: LocalStack, documents: DocumentSite, page: Page, host: str
) -> None:
    arrive(page, stack)
    path = f"/led-from-{host}"
    with page_that_leads_to(ask_for(stack, path), host) as evil:
        page.goto(evil)
        expect_page_before(page)
        page.reload()
        expect_page_before(page)
    assert path not in documents.asked
    page.get_by_role("button", name="Continue").click()
    expect_consent(page)
    assert documents.asked.count(path) == 1


def test_click_is_required_after_a_sign_in_in_between(
    stack: LocalStack, documents: DocumentSite, page: Page
) -> None:
    """Not even a typed address is one any more after the way over the provider."""
    page.goto(ask_for(stack, "/signing-in"))
    page.get_by_role("button", name="Sign in with Local provider").click()
    log_in(page)
    page.get_by_role("button", name="Allow").click()  # at the provider
    expect_page_before(page)
    assert "/signing-in" not in documents.asked
    page.get_by_role("button", name="Continue").click()
    expect_consent(page)


def test_typed_address_shows_the_consent_at_once(stack: LocalStack, page: Page) -> None:
    """As one does that a program opens in the browser."""
    arrive(page, stack)
    page.goto(ask_for(stack, "/typed"))
    expect_consent(page)
