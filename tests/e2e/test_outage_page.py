"""The page of an outage in a real browser: it reloads itself, and sends no form again."""

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, expect

from tests.e2e.signing_in import arrive
from tests.e2e.stack import LocalStack, stopped

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]
TRIES = 20
SOON = "This page reloads by itself in"


def test_page_reloads_itself_until_the_store_answers_or_the_person_stops_it(
    stack: LocalStack, looked_at: Page
) -> None:
    arrive(looked_at, stack)
    looked_at.clock.install()
    with stopped(stack):
        looked_at.goto(f"{stack.url}/sessions/")
        expect(looked_at.get_by_text(f"{SOON} 5 seconds")).to_be_visible()
        with looked_at.expect_navigation():
            looked_at.clock.run_for(5_000)
        expect(looked_at.get_by_text(f"{SOON} 10 seconds")).to_be_visible()
        looked_at.get_by_role("button", name="Stop").click()
        expect(looked_at.get_by_role("link", name="Reload now")).to_be_focused()
        looked_at.evaluate("here = true")
        looked_at.clock.run_for(120_000)
        assert looked_at.evaluate("here")
        looked_at.keyboard.press("Enter")
        expect(looked_at.get_by_text(SOON)).to_be_visible()
    back = looked_at.get_by_role("heading", name="Your sessions")
    for _ in range(TRIES):  # The circuit of the store may be open for some seconds.
        looked_at.clock.run_for(60_000)
        looked_at.wait_for_timeout(1_000)
        if back.is_visible():
            break
    expect(back).to_be_visible()


def test_page_does_not_reload_before_the_time_that_the_response_names(
    stack: LocalStack, looked_at: Page
) -> None:
    """It may be more than the minute after which the page tries again at the latest."""
    page = render_to_string("503.html", {"reload_after": 90, "is_repeatable": True})
    opened: list[str] = []
    looked_at.on("request", lambda request: opened.append(request.url))
    looked_at.route("**/busy", lambda route: route.fulfill(status=503, body=page))
    looked_at.clock.install()
    for _ in range(2):  # the page itself, then after its reload
        if not opened:
            looked_at.goto(f"{stack.url}/busy")
        expect(looked_at.get_by_text(f"{SOON} 90 seconds")).to_be_visible()
        count = opened.count(f"{stack.url}/busy")
        looked_at.clock.run_for(89_000)
        assert opened.count(f"{stack.url}/busy") == count
        with looked_at.expect_navigation():
            looked_at.clock.run_for(1_000)


def test_response_to_a_form_does_not_reload(stack: LocalStack, looked_at: Page) -> None:
    arrive(looked_at, stack)
    looked_at.goto(stack.url)
    sent: list[str] = []
    looked_at.on("request", lambda request: sent.append(request.method))
    with stopped(stack):
        looked_at.get_by_role("button", name="Sign out").click()
        expect(looked_at.get_by_role("heading", name="Back in a moment")).to_be_visible()
        assert looked_at.get_by_text(SOON).count() == 0
        assert looked_at.get_by_role("link", name="Reload now").count() == 0
        looked_at.wait_for_timeout(6_000)
    assert sent.count("POST") == 1
