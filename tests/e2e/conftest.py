"""A real headless Chromium, and the local stack."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    sync_playwright,
)

from tests.e2e.document_site import document_site
from tests.e2e.stack import LocalStack
from tests.gateway_site.support.documents import DocumentSite
from tests.support.processes import free_ports

# The headless shell is the same engine without the program around it: a third of the CPU.
PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",  # one for each site: tests open pages one after another
]


@pytest.fixture(scope="package")
def feed() -> int:
    """Give the port of an upstream `feed`, where nothing listens until a test does."""
    return free_ports(1)[0]


@pytest.fixture(scope="package")
def served_documents(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[DocumentSite, dict[str, str]]]:
    with document_site(tmp_path_factory.mktemp("documents")) as served:
        yield served


@pytest.fixture(scope="package")
def documents(served_documents: tuple[DocumentSite, dict[str, str]]) -> DocumentSite:
    """Give the site of the documents that clients of the stack have."""
    return served_documents[0]


@pytest.fixture(scope="package")
def kept_stack(
    feed: int,
    served_documents: tuple[DocumentSite, dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalStack]:
    stack = LocalStack(
        tmp_path_factory.mktemp("runlocal") / "state",
        LOG_LEVEL="DEBUG",  # what is said nowhere is not said at this level either
        UPSTREAM_FEED_URL=f"http://127.0.0.1:{feed}",
        UPSTREAM_FEED_PROVIDER="local",
        UPSTREAM_FEED_CLIENTS="1",
        CLIENTS_METADATA_DOCUMENTS="1",
        **served_documents[1],
    )
    yield stack
    stack.end()


@pytest.fixture
def stack(kept_stack: LocalStack) -> LocalStack:
    """Give the one stack of a worker, which holds what earlier tests left there."""
    kept_stack.start()
    return kept_stack


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Run it until the next test is none of this folder: no event loop may run beside it."""
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: install chromium-headless-shell, or set CHROMIUM to its path")
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield chromium
    chromium.close()


@pytest.fixture
def visitor(browser: Browser, tmp_path: Path) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        yield context


@pytest.fixture
def page(visitor: BrowserContext) -> Iterator[Page]:
    """A page whose console must stay clean: the browser reports CSP violations there."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    opened = visitor.new_page()
    opened.set_default_timeout(10_000)
    opened.on("console", listen)
    yield opened
    assert complaints == []


@pytest.fixture
def looked_at(browser: Browser) -> Iterator[Page]:
    """Give a page whose complaints are not: what is refused is reported in the console."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        yield page
