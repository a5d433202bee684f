"""The person at the browser who allows a client at the gateway, and the gateway at the server."""

import re
import time
from collections.abc import Callable

from playwright.sync_api import Page

from tests.e2e.signing_in import sign_in
from tests.e2e.stack import LocalStack
from tests.mcp_clients.person import Person, allow

SECONDS = 20  # for the pages of one connection
POLL = 50  # milliseconds
BUTTONS = ("Sign-in", "Continue", "Allow")  # names on the servers' pages


class ConsentingPerson(Person):
    """Knows the pages of the servers' authorization servers, which are at these addresses."""

    def __init__(self, stack: LocalStack, *addresses: str) -> None:
        super().__init__(stack)
        self.addresses = (stack.url, *addresses)

    def _consent(self, page: Page, address: str) -> None:
        self._open(page, address)
        if page.get_by_role("button", name="Sign in with Local provider").count():
            sign_in(page, self.stack)
            self._open(page, address)
        allow(page)
        allow_at_server(page, self.stack.url, lambda: self._is_elsewhere(page.url), allow)

    def _is_elsewhere(self, url: str) -> bool:
        """Return True if an address is the client's own."""
        return not url.startswith(self.addresses)


def allow_at_server(
    page: Page,
    gateway: str,
    is_done: Callable[[], bool],
    allow_here: Callable[[Page], None] | None = None,
) -> None:
    """Do what the servers' pages ask for, until the browser is where it should be.

    The gateway asks again (``allow_here``) when it has seen a server for the first time: only then
    can its page name the authorization server and the scopes.
    """
    deadline = time.monotonic() + SECONDS
    login = page.get_by_placeholder("Enter any login")
    buttons = page.get_by_role("button", name=re.compile(f"^({'|'.join(BUTTONS)})"))
    while not is_done():
        assert time.monotonic() < deadline, page.url
        is_here = page.url.startswith(gateway)
        if not buttons.count() or (is_here and allow_here is None):
            page.wait_for_timeout(POLL)
        elif is_here and allow_here is not None:
            allow_here(page)
        else:
            if login.count():
                login.fill("ada")
                page.get_by_placeholder("and password").fill("any")
            buttons.first.click()
