"""Languages in a real Chromium: the switch, and pages from right to left on a narrow phone."""

import io
import re
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.e2e.clients import allow_app_and_open_home_page, consent_address, register_client
from tests.e2e.layout import OVERFLOW
from tests.e2e.signing_in import arrive
from tests.e2e.stack import LocalStack
from tests.support.catalogs import PACKAGES, load_extractor

CODE = "he"
GROWTH = 1.4
KEPT = re.compile(r"(<[^>]*>|%\([a-z_]+\)[sd]|\{[a-z_]*\}|&[a-z]+;)")
WORD = re.compile(r"[A-Za-z]+")
LETTERS = [chr(each) for each in range(ord("א"), ord("ת") + 1)]
DATE = "date and time"  # the beginning of a context: that text is a format


def write_catalog(folder: Path) -> None:
    """Write a language that nobody speaks into a folder for `LOCALE_DIR`.

    Every text is in Hebrew letters and 40 % longer, so that pages show whether they fit: German is
    longer than English by about as much, and Hebrew is written from right to left.
    """
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo

    catalog = Catalog(locale=CODE)
    for package in PACKAGES:
        for message in load_extractor().extract_messages(package):
            if message.id and not (message.context or "").startswith(DATE):
                texts = translate_each(message.id, catalog.num_plurals)
                catalog.add(message.id, texts, context=message.context)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    target = folder / CODE / "LC_MESSAGES" / "django.mo"
    target.parent.mkdir(parents=True)
    target.write_bytes(compiled.getvalue())


def translate_each(text: Any, number: int) -> Any:
    """Return a text in the language; of a plural, as many forms as the language has."""
    if isinstance(text, str):
        return translate(text)
    return tuple(translate(text[min(each, 1)]) for each in range(number))


def translate(text: str) -> str:
    """Return one text."""
    parts = KEPT.split(text)
    return "".join(
        part if KEPT.fullmatch(part) else WORD.sub(_lengthen, part) for part in parts if part
    )


def _lengthen(word: re.Match[str]) -> str:
    return "".join(islice(cycle(LETTERS), round(len(word[0]) * GROWTH)))


pytest.importorskip(
    "babel", reason="NO CATALOG WAS COMPILED: install babel, which requirements/dev.txt holds"
)
pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]
PHONE: ViewportSize = {"width": 360, "height": 740}
# Parts that hang over an edge of the window, which a page from right to left hides at its left.
CUT_OFF = """
[...document.querySelectorAll("main *, header *, footer *")].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width > 1 && getComputedStyle(each).display !== "contents"
    && !each.closest("pre, .skip, .visually-hidden, details:not([open]) > :not(summary)")
    && (box.left < -1 || box.right > document.documentElement.clientWidth + 1);
}).map(each => each.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def right_to_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Run a gateway that also offers the pseudo-locale."""
    folder = tmp_path_factory.mktemp("locale")
    write_catalog(folder)
    stack = LocalStack(
        tmp_path_factory.mktemp("runlocal") / "state",
        LANGUAGES=f"en,{CODE}",
        LOCALE_DIR=str(folder),
        UPSTREAM_FEED_URL="http://127.0.0.1:9",
        UPSTREAM_FEED_PROVIDER="local",
        UPSTREAM_FEED_CLIENTS="1",
    )
    with stack.running():
        yield stack


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport=PHONE) as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        yield page


def switch_language(page: Page, to: str) -> None:
    with page.expect_navigation():
        page.locator("footer button[name=language]").and_(page.locator(f"[value={to}]")).click()


def assert_fits(page: Page, text: str) -> None:
    """Assert that the page is in the pseudo-locale, and nothing is wider than the window."""
    html = page.locator("html")
    expect(html).to_have_attribute("lang", CODE)
    expect(html).to_have_attribute("dir", "rtl")
    expect(page.locator("main")).to_contain_text(translate(text))
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(CUT_OFF) == []


def test_sign_in_page_fits(right_to_left: LocalStack, phone: Page) -> None:
    phone.goto(f"{right_to_left.url}/accounts/login/?next=/sessions/")
    switch_language(phone, CODE)
    assert phone.url == f"{right_to_left.url}/accounts/login/?next=/sessions/"
    assert_fits(phone, "Sign in")


def test_consent_connections_and_connected_apps_fit(right_to_left: LocalStack, phone: Page) -> None:
    phone.set_viewport_size({"width": 1280, "height": 900})  # so that nothing has to be scrolled
    allow_app_and_open_home_page(right_to_left, phone)
    phone.set_viewport_size(PHONE)
    switch_language(phone, CODE)
    assert_fits(phone, "Connections")
    phone.goto(f"{right_to_left.url}/apps/")
    assert_fits(phone, "Connected apps")
    redirect_uri = "https://app.example.com/callback"
    client_id = register_client(right_to_left, redirect_uri, "Cl\N{CYRILLIC SMALL LETTER A}ude")
    phone.goto(consent_address(right_to_left, client_id, redirect_uri))
    assert_fits(phone, "Sends you back to")


def test_german_is_chosen_at_the_bottom_of_a_page_and_stays(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    page.goto(f"{stack.url}/try/demo/")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", name="Einen Client mit demo verbinden")).to_be_visible()
    assert page.url == f"{stack.url}/try/demo/"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.url)
    page.get_by_role("button", name="Kopieren (Adresse)").click()
    expect(page.get_by_role("status")).to_have_text("Kopiert.")
    page.goto(stack.url)
    times = page.locator("time").all_inner_texts()
    assert times
    assert all("UTC" not in each or ". " in each for each in times)
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Connections")).to_be_visible()


def test_wait_before_a_response_is_explained_in_german(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    page.goto(stack.url)
    page.get_by_role("button", name="Deutsch").click()
    button = page.get_by_role("button", name="Erneut anmelden")
    button.evaluate("each => each.click()")
    expect(page.locator("[data-click-status]").first).to_contain_text("bestätigen")


def test_pseudo_locale_is_longer_and_keeps_what_is_filled_in(tmp_path: Path) -> None:
    text = 'Its host, <strong class="host">%(host)s</strong>'
    found = translate(text)
    assert '<strong class="host">%(host)s</strong>' in found
    assert "host," not in found
    write_catalog(tmp_path)
