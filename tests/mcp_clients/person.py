"""The person at the browser: opens what clients ask for, and allows it.

Addresses enter by the folders of the clients' places; consents leave, in a real Chromium. One
thread, since Playwright wants to be used by the thread that started it. Knows no client.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

from playwright.sync_api import Page, sync_playwright

from tests.e2e.conftest import ARGUMENTS, CHROMIUM
from tests.e2e.signing_in import sign_in
from tests.e2e.stack import LocalStack
from tests.mcp_clients.place import Place

LOOK = 0.1  # seconds between two looks at what is asked
TIMEOUT = 20_000  # milliseconds for a page
OUTAGE = 90  # seconds that a person loads a page again that says "in a moment"
Errand = Callable[[Page], None]


class Person:
    """Ada, at her computer, as long as the context lasts."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.places: list[Place] = []
        self.failures: list[str] = []  # consents that did not work, in words
        self._errands: queue.Queue[tuple[Errand, Future[None]]] = queue.Queue()
        self._ended = threading.Event()
        self._seen: set[str] = set()
        self._thread = threading.Thread(target=self._live, name="person")

    def __enter__(self) -> Self:
        assert CHROMIUM, "A browser is needed: install chromium, or set CHROMIUM to its path."
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def do(self, errand: Errand) -> None:
        """Have the person do something in a page, and wait until it is done."""
        done: Future[None] = Future()
        self._errands.put((errand, done))
        done.result(timeout=TIMEOUT / 100)

    def _live(self) -> None:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            context = chromium.new_context()
            context.set_default_timeout(TIMEOUT)
            while not self._ended.wait(LOOK):
                self._run_errands(context.new_page)
                for address in self._new_addresses():
                    self._try_to_consent(context.new_page, address)
            chromium.close()

    def _run_errands(self, new_page: Callable[[], Page]) -> None:
        while not self._errands.empty():
            errand, done = self._errands.get()
            with new_page() as page:
                try:
                    errand(page)
                except Exception as error:  # noqa: BLE001 -- reported to the caller
                    done.set_exception(error)
                else:
                    done.set_result(None)

    def _new_addresses(self) -> list[str]:
        """Return the addresses that are new, in the order in which they were asked for."""
        files = [file for place in self.places for file in place.asked_folder.iterdir()]
        new = sorted((file for file in files if str(file) not in self._seen), key=lambda f: f.name)
        self._seen.update(str(file) for file in new)
        return [file.read_text(encoding="utf-8") for file in new]

    def _try_to_consent(self, new_page: Callable[[], Page], address: str) -> None:
        with new_page() as page:
            try:
                self._consent(page, address)
            except Exception as error:  # noqa: BLE001 -- the client gets no response
                first = str(error).partition("\n")[0]
                self.failures.append(f"{first} at {page.url[:80]}: {page.title()}")

    def _consent(self, page: Page, address: str) -> None:
        """Allow it, at the gateway and at the provider, and be led back to the client."""
        self._open(page, address)
        if page.get_by_role("button", name="Sign in with Local provider").count():
            sign_in(page, self.stack)
            self._open(page, address)
        allow(page)
        page.wait_for_url(f"http://127.0.0.1:{self.stack.provider}/**")
        allow(page)
        page.wait_for_url(self._is_elsewhere, wait_until="domcontentloaded")

    def _open(self, page: Page, address: str) -> None:
        """Open it; a page that asks to try again in a moment is loaded again."""
        deadline = time.monotonic() + OUTAGE
        while True:
            response = page.goto(address)
            if response is None or response.status != 503 or time.monotonic() > deadline:
                return
            page.wait_for_timeout(2_000)

    def _is_elsewhere(self, url: str) -> bool:
        """Return True if an address is the client's own."""
        own = (self.stack.url, f"http://127.0.0.1:{self.stack.provider}")
        return not url.startswith(own)


def allow(page: Page) -> None:
    """Press Allow, which counts once it has been in view for a second: the page may be long."""
    button = page.get_by_role("button", name="Allow")
    button.scroll_into_view_if_needed()
    button.click()
