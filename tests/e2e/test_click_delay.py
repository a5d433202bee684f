"""Allow waits for a person who has seen the page, in a real Chromium whose clock the tests move.

The adversary is a page of another site that opens ours under the second click of a double click, or
while a key is held down. The server's own second is tested in
tests/oauth/clients/endpoints/test_click_delay.py.
"""

from collections.abc import Callable
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect

from oauth.sign_in.click_delay import DELAY
from tests.e2e.clients import consent_address, register_client
from tests.e2e.hostile_page import hostile_page
from tests.e2e.keyboard import press_until_focused
from tests.e2e.signing_in import arrive, give_cookies, sign_in_by_requests
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.slow]
REDIRECT_URI = "https://app.example.com:8443/callback"
# The page gets a scroll event with its next frame.
SCROLL = """() => new Promise(done => {
    document.addEventListener("scroll", done, {once: true});
    window.scrollBy(0, 1);
})"""
ZOOMED = {"width": 320, "height": 256}  # what 1280 by 1024 pixels show at 400 %


@pytest.fixture
def asked(stack: LocalStack, page: Page) -> Page:
    """Give the consent page, of which no time has passed."""
    arrive(page, stack)
    page.clock.install()
    page.goto(consent_address(stack, register_client(stack, REDIRECT_URI), REDIRECT_URI))
    page.clock.pause_at(page.evaluate("Date.now()") + 10_000)
    return page


def allow(page: Page) -> Locator:
    return page.get_by_role("button", name="Allow")


def is_waiting(page: Page) -> bool:
    return allow(page).get_attribute("aria-disabled") == "true"


def restart(page: Page, event: str = "pageshow") -> None:
    target = "document" if event == "visibilitychange" else "window"
    page.evaluate(f"name => {target}.dispatchEvent(new Event(name))", event)
    assert is_waiting(page)


def press_mouse(page: Page, button: Locator, click_count: int = 1) -> None:
    """Click where a button is, whatever it says of itself, as another site has it clicked."""
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down(click_count=click_count)
    page.mouse.up(click_count=click_count)


def test_click_counts_a_second_after_the_page_was_shown(asked: Page, stack: LocalStack) -> None:
    restart(asked)
    for waited in (0, 500, 499):
        asked.clock.run_for(waited)
        press_mouse(asked, allow(asked))
        asked.keyboard.press("Enter")
        assert asked.url.startswith(f"{stack.url}/oauth/authorize?")
        assert is_waiting(asked)
    expect(asked.get_by_role("status")).to_contain_text("You can confirm in a second")
    asked.clock.run_for(2)
    assert not is_waiting(asked)
    expect(asked.get_by_role("status")).to_contain_text("You can confirm now")


def test_button_counts_although_the_timer_ended_before_the_second(asked: Page) -> None:
    """Browsers round both clocks: a timer of a second may end after 999.9 milliseconds."""
    asked.evaluate("const timer = setTimeout; setTimeout = (then, ms) => timer(then, ms - 1)")
    restart(asked)
    asked.clock.run_for(999)
    assert is_waiting(asked)
    asked.clock.run_for(2)
    assert not is_waiting(asked)


@pytest.mark.parametrize("event", ["focus", "blur", "pageshow", "visibilitychange"])
def test_delay_restarts_after_the_page_was_left(asked: Page, event: str) -> None:
    restart(asked)
    asked.clock.run_for(1001)
    assert not is_waiting(asked)
    restart(asked, event)
    asked.clock.run_for(999)
    assert is_waiting(asked)
    asked.clock.run_for(2)
    assert not is_waiting(asked)


def test_second_click_of_a_double_click_does_nothing(asked: Page, stack: LocalStack) -> None:
    restart(asked)
    asked.clock.run_for(1001)
    press_mouse(asked, allow(asked), click_count=2)
    press_mouse(asked, allow(asked), click_count=3)
    assert asked.url.startswith(f"{stack.url}/oauth/authorize?")
    assert not is_waiting(asked)


def test_held_key_does_nothing(asked: Page, stack: LocalStack) -> None:
    restart(asked)
    asked.clock.run_for(1001)
    allow(asked).evaluate("button => button.focus()")
    repeated = "new KeyboardEvent('keydown', {key, repeat: true, cancelable: true, bubbles: true})"
    for key in ("Enter", " "):
        script = f"(button, key) => button.dispatchEvent({repeated})"
        assert allow(asked).evaluate(script, key) is False  # it was prevented
    assert asked.url.startswith(f"{stack.url}/oauth/authorize?")


def test_keyboard_alone_allows(asked: Page, stack: LocalStack) -> None:
    restart(asked)
    press_until_focused(asked, allow(asked))
    asked.keyboard.press("Enter")
    expect(asked.get_by_role("status")).to_contain_text("You can confirm in a second")
    asked.clock.resume()
    expect(allow(asked)).to_have_attribute("aria-disabled", "false")
    press_until_gone(asked, stack)


def press_until_gone(page: Page, stack: LocalStack) -> None:
    """Press Enter; the page that the server shows again, a second not being over there, as well."""
    act_until_gone(page, stack, lambda: page.keyboard.press("Enter"))


def act_until_gone(page: Page, stack: LocalStack, act: Callable[[], None]) -> None:
    while page.url.startswith(f"{stack.url}/oauth/authorize?"):
        expect(allow(page)).to_have_attribute("aria-disabled", "false")
        allow(page).focus()
        with page.expect_navigation():
            act()
    assert page.url.startswith(f"http://127.0.0.1:{stack.provider}/")


def click_in_vain(page: Page, stack: LocalStack) -> None:
    """Click where Allow is, as a browser may count it: a first click or a second one."""
    for click_count in (1, 2):
        press_mouse(page, allow(page), click_count)
        assert page.url.startswith(f"{stack.url}/oauth/authorize?")
    expect(page.get_by_role("alert")).to_have_count(0)  # the server was asked nothing


def click_on_purpose(page: Page, stack: LocalStack) -> None:
    page.clock.resume()
    act_until_gone(page, stack, lambda: press_mouse(page, allow(page)))


def test_page_opened_under_the_second_click_needs_one_on_purpose(
    asked: Page, stack: LocalStack
) -> None:
    opening = f"<h1>Double-click here</h1><script>onmousedown = () => open({asked.url!r})</script>"
    with hostile_page(opening) as evil:
        asked.goto(evil)
        with asked.expect_popup() as opened:
            asked.mouse.click(20, 20)
        click_in_vain(opened.value, stack)
        opened.value.clock.run_for(999)
        click_in_vain(opened.value, stack)
        click_on_purpose(opened.value, stack)


def test_page_uncovered_under_the_second_click_needs_one_on_purpose(
    asked: Page, stack: LocalStack
) -> None:
    """The page has been open for long, under a window that closes itself at the first click."""
    cover = f"""<h1>Double-click here</h1><script>
        if (opener) onmousedown = () => close();
        else onmousedown = () => {{ open(location); location = {asked.url!r}; }};
        </script>"""
    # Playwright gives each page the focus.
    asked.context.add_init_script("document.hasFocus = () => window.isFocused === true")
    with hostile_page(cover) as evil:
        asked.goto(evil)
        with asked.expect_popup() as opened:
            asked.mouse.click(20, 20)
        expect(allow(asked)).to_be_visible()
        asked.clock.run_for(60_000)
        opened.value.wait_for_url(evil)  # with the script that closes it
        # The window may be closed before Chromium has confirmed the click.
        with opened.value.expect_event("close"), suppress(Error):
            opened.value.mouse.down()
        click_in_vain(asked, stack)
        asked.evaluate("window.isFocused = true")
        asked.context.add_init_script("window.isFocused = true")  # should the server show it anew
        restart(asked, "focus")
        asked.clock.run_for(999)
        click_in_vain(asked, stack)
        click_on_purpose(asked, stack)


def test_page_from_the_history_restarts_the_delay(asked: Page, stack: LocalStack) -> None:
    """Another site may have shown it a while ago, and go back to it under the second click."""
    asked.clock.run_for(1001)
    assert not is_waiting(asked)
    with hostile_page("") as evil:
        asked.goto(evil)
        asked.go_back()
        click_in_vain(asked, stack)


def test_form_works_without_javascript_and_explains_a_submission_that_was_too_early(
    stack: LocalStack, browser: Browser
) -> None:
    with (
        browser.new_context(java_script_enabled=False) as context,
        sign_in_by_requests(stack) as session,
    ):
        give_cookies(context, session)
        page = context.new_page()
        page.goto(consent_address(stack, register_client(stack, REDIRECT_URI), REDIRECT_URI))
        allow(page).click()
        while page.url.startswith(stack.url):
            expect(page.get_by_role("alert")).to_contain_text("then confirm again")
            page.wait_for_timeout(DELAY * 1000)  # as a person who reads it
            allow(page).click()
        assert page.url.startswith(f"http://127.0.0.1:{stack.provider}/")


def test_at_400_percent_the_destination_and_the_button_are_each_seen_first(asked: Page) -> None:
    asked.set_viewport_size(ZOOMED)  # type: ignore[arg-type]  # it takes this very form
    asked.evaluate("window.scrollTo(0, 0)")
    restart(asked)
    asked.clock.run_for(5000)
    assert is_waiting(asked)
    for seen in (allow(asked), asked.locator("[data-must-be-seen]")):
        assert is_waiting(asked)
        seen.scroll_into_view_if_needed()
        asked.evaluate(SCROLL)
    expect(allow(asked)).to_have_attribute("aria-disabled", "false")
    width = asked.evaluate("document.documentElement.scrollWidth")
    assert width <= ZOOMED["width"]


def test_destination_has_its_port(asked: Page) -> None:
    expect(asked.locator("[data-must-be-seen]")).to_have_text("app.example.com:8443")
