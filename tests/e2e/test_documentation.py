"""The site that `make docs` built, on a phone: tables, drawings, copied commands, the search."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page

from tests import ROOT

SITE = ROOT / "build/docs"
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if path.name not in {"genindex.html", "search.html"} and "_static" not in path.parts
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(not PAGES, reason="NO SITE WAS BUILT: make docs"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves the site without a log."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    handler = partial(Quiet, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 360, "height": 740}) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        yield context.new_page()


def test_pages_and_tables_fit_a_phone_and_drawings_stay_readable(phone: Page, address: str) -> None:
    wide, cut, small = [], [], []
    for name in PAGES:
        phone.goto(f"{address}/{name}")
        if phone.evaluate("document.documentElement.scrollWidth") > 360:
            wide.append(name)
        cut += phone.evaluate(
            """[...document.querySelectorAll(".table-wrapper")]
            .filter((each) => each.scrollWidth > each.clientWidth + 1)
            .map((each) => each.innerText)"""
        )
        small += phone.evaluate(
            """[...document.querySelectorAll("article img[src$=svg]")]
            .filter((each) => each.getBoundingClientRect().width < 600).map((each) => each.src)"""
        )
    assert (wide, cut, small) == ([], [], [])


def test_links_show_the_titles_of_pages(phone: Page, address: str) -> None:
    phone.goto(f"{address}/gateway.html")
    shown = phone.locator("article a").all_text_contents()
    assert "MCP and other OAuth clients" in shown
    assert [text for text in shown if text.endswith(".md")] == []


def test_copied_commands_have_neither_prompts_nor_output(phone: Page, address: str) -> None:
    phone.goto(f"{address}/guides/django.html")
    phone.locator("button.copybtn").nth(1).click()
    lines = phone.evaluate("navigator.clipboard.readText()").splitlines()
    assert [line.split()[0] for line in lines] == [
        "DJANGO_SUPERUSER_PASSWORD=correct-horse", "python", "curl", "curl", "-d",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("CLIENTS_REFRESH_GRACE", "settings.html#envvar-clients-refresh-grace"),
        ("READ_TIMEOUT", "settings.html#envvar-upstream-name-read-timeout"),
        ("DECRYPT_KEY_IDS", "settings.html#setting-decrypt-key-ids"),
        ("end_sessions", "commands.html#end-sessions"),
        ("verify_audit", "commands.html#command-verify-audit"),
    ],
)
def test_search_lists_what_describes_a_name_first(
    phone: Page, address: str, words: str, target: str
) -> None:
    phone.goto(f"{address}/search.html?q={words}")
    first = phone.locator("#search-results ul.search > li a").first
    assert first.get_attribute("href") == target
