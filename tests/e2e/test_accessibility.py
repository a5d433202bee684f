"""Every page in every state: axe-core finds nothing, in light and dark; and no page needs a mouse.

https://github.com/dequelabs/axe-core
"""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect

from tests.e2e.clients import allow_app_and_open_home_page, consent_address, register_client
from tests.e2e.confirming import show_ending
from tests.e2e.keyboard import press_until_focused
from tests.e2e.layout import OVERFLOW
from tests.e2e.signing_in import arrive, log_in
from tests.e2e.stack import LocalStack, stopped

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]

axe = Axe()
SCHEMES = ("light", "dark")
# As wide as that in the admin, where a table that is too wide is scrolled by itself.
TABLE_OVERFLOW = """
Math.max(0, ...[...document.querySelectorAll("#content, .results")].map(
  each => each.scrollWidth - each.clientWidth))
"""
ROWS_CUT_OFF = """
[...document.querySelectorAll("#content .form-row")].filter(
  each => each.scrollWidth > each.clientWidth).length
"""
OUTLINE = "getComputedStyle(document.activeElement).outlineStyle"
AT_THE_END = "document.activeElement === document.body"

State = Callable[[LocalStack, Page], None]


def at(path: str) -> State:
    def go(stack: LocalStack, page: Page) -> None:
        page.goto(stack.url + path)

    return go


def signed_in_state(path: str) -> State:
    def go(stack: LocalStack, page: Page) -> None:
        arrive(page, stack)
        page.goto(stack.url + path)

    return go


def after_an_action(stack: LocalStack, page: Page) -> None:
    """Show the notice that other sessions were ended."""
    for _ in range(2):
        arrive(page, stack)
    page.goto(f"{stack.url}/sessions/")
    button = show_ending(page, "End all other sessions and apps")
    button.scroll_into_view_if_needed()  # It waits until it has been seen.
    button.click()
    expect(page.get_by_role("status")).to_be_visible()


def before_a_document(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    address = consent_address(stack, "https://app.example.com/x", "http://127.0.0.1/callback")
    page.goto("data:text/html,<title>Another site</title>")
    page.evaluate("address => { location = address }", address)
    expect(page.get_by_role("button", name="Continue")).to_be_visible()


def with_an_app(stack: LocalStack, page: Page) -> None:
    allow_app_and_open_home_page(stack, page)
    page.goto(f"{stack.url}/apps/")
    page.locator(".entries summary").first.click()
    expect(show_ending(page, "Disconnect all apps")).to_be_visible()


def without_consent(stack: LocalStack, page: Page) -> None:
    page.goto(f"{stack.url}/accounts/oidc/local/login/callback/?error=access_denied&state=x")


def after_a_failed_sign_in(stack: LocalStack, page: Page) -> None:
    page.goto(f"{stack.url}/accounts/oidc/local/login/callback/?code=x&state=x")


def sign_out_here(stack: LocalStack, page: Page) -> None:
    """Stay at the page between here and the provider: without JavaScript it waits."""
    arrive(page, stack)
    page.route("**/single_logout*.js", lambda route: route.fulfill(body=""))
    page.get_by_role("button", name="Sign out").click()


def without_a_csrf_token(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    page.goto(stack.url)
    page.evaluate(
        "document.querySelectorAll('[name=csrfmiddlewaretoken]').forEach(e => e.remove())"
    )
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_load_state()


def in_an_outage(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    with stopped(stack):
        page.goto(stack.url)
        page.get_by_role("button", name="Stop").click()  # or it would reload itself


def before_consent(stack: LocalStack, page: Page) -> None:
    """Be asked whether an app may be let in whose name mixes alphabets."""
    arrive(page, stack)
    redirect_uri = "https://app.example.com/callback"
    client_id = register_client(stack, redirect_uri, "Cl\N{CYRILLIC SMALL LETTER A}ude")
    page.goto(consent_address(stack, client_id, redirect_uri))


def of_a_session_in_the_admin(stack: LocalStack, page: Page) -> None:
    signed_in_state("/admin/sessions_kms/session/")(stack, page)
    with page.expect_navigation():
        page.get_by_role("link", name="(this session)").click()


def at_the_choice_of_upstream(stack: LocalStack, page: Page) -> None:
    """Be asked by an app that does not say which upstream it wants."""
    arrive(page, stack)
    redirect_uri = "http://127.0.0.1:9/callback"
    address = consent_address(stack, register_client(stack, redirect_uri), redirect_uri)
    page.goto(address.partition("&resource=")[0])
    expect(page.get_by_role("radio").first).to_be_visible()


def of_a_grant_in_the_admin(stack: LocalStack, page: Page) -> None:
    allow_app_and_open_home_page(stack, page)
    page.goto(f"{stack.url}/admin/sessions_kms/session/?grants=1")
    page.locator("#result_list .field-short_id a").first.click()
    expect(page.locator("#content")).to_contain_text("client id: ")


def at_the_providers_consent(stack: LocalStack, page: Page) -> None:
    at_the_provider(stack, page)
    log_in(page, "grace")
    expect(page.get_by_role("button", name="Allow")).to_be_visible()


def of_the_provider(path: str) -> State:
    def go(stack: LocalStack, page: Page) -> None:
        page.goto(f"http://127.0.0.1:{stack.provider}{path}")

    return go


def at_the_providers_error(stack: LocalStack, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{stack.provider}/identity/o/authorize?client_id=x")


def at_the_provider(stack: LocalStack, page: Page) -> None:
    page.goto(stack.url)
    page.get_by_role("button", name="Sign in with Local provider").click()
    expect(page.get_by_label("Password")).to_be_visible()


STATES: dict[str, State] = {
    "signed out": at("/"),
    "sign-in page": at("/accounts/login/"),
    "consent was not given": at("/accounts/3rdparty/login/cancelled/"),
    "continue to a call": signed_in_state(f"/continue/?to=/gateway/provider/{'long' * 40}"),
    "continue to the provider": at("/accounts/oidc/local/login/"),
    "not found": at("/nothing/here"),
    "no consent": without_consent,
    "failed sign-in": after_a_failed_sign_in,
    "connections": signed_in_state("/"),
    "sessions": signed_in_state("/sessions/"),
    "no apps": signed_in_state("/apps/"),
    "apps": with_an_app,
    "app is new": allow_app_and_open_home_page,
    "before a client's document": before_a_document,
    "message": after_an_action,
    "disconnect": signed_in_state("/accounts/3rdparty/"),
    "sign out": signed_in_state("/accounts/logout/"),
    "signed out here": sign_out_here,
    "tried": signed_in_state("/try/provider/"),
    "tried in vain": signed_in_state("/try/feed/?call=1"),
    "connect a client": signed_in_state("/try/demo/"),
    "consent": before_consent,
    "choice of upstream": at_the_choice_of_upstream,
    "app cannot connect": signed_in_state("/oauth/authorize?client_id=x"),
    "refused": without_a_csrf_token,
    "outage": in_an_outage,
    "no such upstream": signed_in_state("/gateway/nothing/x"),
    "upstream does not answer": signed_in_state("/gateway/feed/x"),
    "wrong method": signed_in_state("/sessions/end/"),
    "admin list": signed_in_state("/admin/sessions_kms/session/"),
    "admin, grants": signed_in_state("/admin/sessions_kms/session/?grants=1"),
    "admin, end before": signed_in_state("/admin/sessions_kms/session/end-before/"),
    "admin, confirmation": signed_in_state("/admin/sessions_kms/session/end-of-user/?user=1"),
    "admin, session": of_a_session_in_the_admin,
    "admin, grant": of_a_grant_in_the_admin,
    "admin, users": signed_in_state("/admin/auth/user/"),
    "provider's sign-in": at_the_provider,
    "provider's consent": at_the_providers_consent,
    "provider's account": of_the_provider("/"),
    "provider's not found": of_the_provider("/nothing"),
    "provider's error": at_the_providers_error,
}
# Django's own frame and search form are not ours to mend: what is held is WCAG, without what
# axe calls best practice.
DJANGOS_OWN = {name for name in STATES if name.startswith("admin")}
# Buttons of the admin change their colours little by little, when the scheme does. What is in a
# closed `<details>` waits until that is opened.
SETTLED = """
() => Promise.allSettled(document.getAnimations()
  .filter(each => each.effect.target.checkVisibility({ contentVisibilityAuto: true }))
  .map(each => each.finished)).then(() => 0)
"""
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_and_nothing_is_cut_off(
    stack: LocalStack, looked_at: Page, state: str
) -> None:
    STATES[state](stack, looked_at)
    context, options = ("#content", WCAG) if state in DJANGOS_OWN else (None, None)
    for scheme in SCHEMES:
        looked_at.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a name at a time
        looked_at.evaluate(SETTLED)
        found = axe.run(looked_at, context, options)
        assert found.violations_count == 0, found.generate_report()
    # A small phone; and a window of 1280 at 200 % (WCAG 1.4.10, 1.4.4).
    for width in (320, 640):
        looked_at.set_viewport_size({"width": width, "height": 800})
        overflow = TABLE_OVERFLOW if state in DJANGOS_OWN else OVERFLOW
        assert looked_at.evaluate(overflow) <= 0


def test_focus_is_visible_and_goes_to_the_message_after_an_action(
    stack: LocalStack, looked_at: Page
) -> None:
    after_an_action(stack, looked_at)
    expect(looked_at.get_by_role("status")).to_be_focused()
    assert looked_at.evaluate(OUTLINE) != "none"
    looked_at.keyboard.press("Tab")
    while not looked_at.evaluate(AT_THE_END):
        assert looked_at.evaluate(OUTLINE) != "none"
        looked_at.keyboard.press("Tab")


def test_sign_in_trying_and_sign_out_by_keyboard_alone_without_javascript(
    stack: LocalStack, browser: Browser
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(stack.url)
        press(page, page.get_by_role("button", name="Sign in with Local provider"))
        page.get_by_label("Username").focus()
        page.keyboard.type("ada")
        page.keyboard.press("Tab")
        page.keyboard.type("ada")
        page.keyboard.press("Enter")
        allow = page.get_by_role("button", name="Allow")
        tried = page.get_by_role("link", name=re.compile("Try it provider"))
        expect(allow.or_(tried)).to_be_visible()  # who consented before is not asked again
        if allow.is_visible():
            press(page, allow)
        press(page, tried)
        expect(page.get_by_role("status")).to_contain_text("200 OK")
        press(page, page.get_by_role("button", name="Sign out"))
        expect(page.get_by_role("heading", name=re.compile("Signed out"))).to_be_visible()


def press(page: Page, wanted: Locator) -> None:
    expect(wanted).to_be_visible()
    press_until_focused(page, wanted)
    page.keyboard.press("Enter")


def test_menu_of_a_phone_opens_by_keyboard_without_javascript(
    stack: LocalStack, browser: Browser
) -> None:
    with browser.new_context(
        java_script_enabled=False, viewport={"width": 320, "height": 640}
    ) as context:
        page = context.new_page()
        arrive(page, stack)
        page.goto(f"{stack.url}/nothing/here")
        apps = page.get_by_role("navigation").get_by_role("link", name="Apps")
        expect(apps).to_be_hidden()
        press(page, page.locator(".menu summary"))
        press(page, apps)
        expect(page.get_by_role("heading", level=1)).to_have_text("Connected apps")
        menu, sign_out = page.locator(".menu summary"), page.get_by_role("button", name="Sign out")
        assert abs(box_of(menu)["y"] - box_of(sign_out)["y"]) < 5  # in one line
        page.set_viewport_size({"width": 1000, "height": 640})
        expect(apps).to_be_visible()  # wide enough to show the menu open
        expect(page.locator(".menu summary")).to_be_hidden()
        press(page, page.get_by_role("navigation").get_by_role("link", name="Sessions"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Your sessions")


def test_times_are_in_the_visitors_zone(stack: LocalStack, browser: Browser) -> None:
    for script, zone in ((True, "GMT+5:30"), (False, "UTC")):
        with browser.new_context(timezone_id="Asia/Kolkata", java_script_enabled=script) as context:
            page = context.new_page()
            arrive(page, stack)
            page.get_by_text("Details").click()
            times = page.locator("time").all_inner_texts()
            assert times
            assert all(each.endswith(zone) for each in times), times
            expect(page.get_by_text("in 7 days")).to_be_visible()


def test_allow_and_deny_have_one_size(stack: LocalStack, looked_at: Page) -> None:
    before_consent(stack, looked_at)
    for width in (320, 1000):
        looked_at.set_viewport_size({"width": width, "height": 800})
        boxes = [
            looked_at.get_by_role("button", name=name).bounding_box() for name in ("Allow", "Deny")
        ]
        allow, deny = [box for box in boxes if box is not None]
        assert (allow["width"], allow["height"]) == (deny["width"], deny["height"])
        assert allow["y"] == deny["y"]


def test_warnings_are_amber_in_both_schemes(stack: LocalStack, looked_at: Page) -> None:
    before_consent(stack, looked_at)
    warnings = looked_at.locator(".notice")
    expect(warnings).to_have_count(2)  # of the mixed alphabets, and of the app's place
    for scheme in SCHEMES:
        looked_at.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a name at a time
        for each in warnings.all():
            for part in ("backgroundColor", "borderLeftColor"):
                colour = each.evaluate(f"each => getComputedStyle(each).{part}")
                red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
                assert red > green > blue, (scheme, part, colour)


def test_sign_in_is_a_card_in_the_middle_with_a_logo_and_icons(
    stack: LocalStack, looked_at: Page
) -> None:
    looked_at.goto(f"{stack.url}/accounts/login/")
    card = looked_at.locator("main > .sign-in-card")
    expect(card.get_by_role("paragraph")).to_have_count(1)
    for width in (320, 1000):
        looked_at.set_viewport_size({"width": width, "height": 800})
        box = box_of(card)
        assert abs(box["x"] + box["width"] / 2 - width / 2) <= 1
        assert box["width"] <= 26 * 16  # 26rem
        logo = box_of(card.locator("img"))
        assert (logo["width"], logo["height"]) == (56, 56)
        button = card.get_by_role("button", name="Sign in with Local provider", exact=True)
        icon, edge = box_of(button.locator(".avatar")), box_of(button)
        assert icon["width"] == icon["height"] == 28
        assert edge["x"] < icon["x"] < edge["x"] + 28 * 2
    assert card.locator("img").evaluate("logo => logo.complete && logo.naturalWidth > 0")


def box_of(found: Locator) -> FloatRect:
    box = found.bounding_box()
    assert box is not None
    return box


def test_admins_page_of_a_grant_is_not_cut_off_beside_the_navigation(
    stack: LocalStack, looked_at: Page
) -> None:
    of_a_grant_in_the_admin(stack, looked_at)
    for width in (1000, 320):
        looked_at.set_viewport_size({"width": width, "height": 800})
        assert looked_at.evaluate(ROWS_CUT_OFF) == 0
