"""A session's key changes under a real Chromium, and signs nobody out.

Two gateways of their own processes share the stack's table, which they reach through a proxy
that cuts and keeps back. Each has the other's SECRET_KEY as its former one, and cookies ignore
ports: a browser that goes from one to the other meets a rotated SECRET_KEY. Both use Django's own
lookup of users, which then changes the session's key, as often as wanted.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, Locator, Page, Response, expect

from tests.e2e.signing_in import sign_in
from tests.e2e.stack import LocalStack
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import environment
from tests.sessions_kms.support.exchange_proxy import ExchangeProxy, running_exchange_proxy
from tests.support.processes import free_ports, running
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.timeout(1800),
]

ROUNDS = 200
TOGETHER = 10  # requests of one page
TIMEOUT = 60  # seconds; many times what any page waits for
KEYS = ("one-secret-key-of-a-test-" * 3, "another-secret-key-of-a-test-" * 3)


@dataclass
class Site:
    """Two gateways between which a SECRET_KEY was rotated, and the proxy to their table."""

    urls: tuple[str, str]
    provider: FakeProvider
    proxy: ExchangeProxy


SERVE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_site.settings"
import django
django.setup()
from django.contrib import auth
from oauth.sign_in import authentication
authentication.get_user = auth.get_user
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "runserver", "--noreload", sys.argv[1]])
"""


@contextmanager
def gateway(variables: dict[str, str], log: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", SERVE, f"127.0.0.1:{port}"]
    with running(command, variables, log, port):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def site(stack: LocalStack, tmp_path: Path) -> Iterator[Site]:
    with (
        running_exchange_proxy(f"http://127.0.0.1:{stack.dynamodb}") as proxy,
        fake_provider.serving(FakeProvider) as provider,
    ):
        common = {"PATH": os.environ["PATH"]} | stack.environment() | environment("corp", provider)
        common |= {"AWS_ENDPOINT_URL_DYNAMODB": proxy.url, "LOG_LEVEL": "INFO"}
        one, two = (
            common | {"DJANGO_SECRET_KEY": now, "DJANGO_SECRET_KEY_FALLBACKS": former}
            for now, former in (KEYS, KEYS[::-1])
        )
        with gateway(one, tmp_path / "1.log") as first, gateway(two, tmp_path / "2.log") as second:
            yield Site((first, second), provider, proxy)


@pytest.fixture
def tabs(visitor: BrowserContext) -> tuple[Page, Page]:
    """Give two tabs of one browser. Their consoles tell of each 503."""
    opened = visitor.new_page(), visitor.new_page()
    for page in opened:
        page.set_default_timeout(TIMEOUT * 1000)
    return opened


def click_sign_in(page: Page, at: str) -> None:
    page.goto(at)
    page.get_by_role("button", name="Sign in with corp").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def is_settled(page: Page, at: str) -> bool:
    """Go to a page, anew while it is 503, as it says itself; tell whether she is signed in."""
    statuses: list[int] = []

    def is_served() -> bool:
        try:
            response = page.goto(at, wait_until="domcontentloaded")
        except Error as error:  # The page went elsewhere by itself, as a 503 says.
            assert "ERR_ABORTED" in error.message or "interrupted" in error.message  # noqa: PT017
            return False
        assert response is not None
        statuses.append(response.status)
        return response.status != 503

    wait_until(is_served, "the page is served", TIMEOUT)
    assert statuses[-1] == 200
    return page.get_by_role("button", name="Sign out").count() == 1


def key_of(visitor: BrowserContext) -> str:
    """Return the browser's session key."""
    [found] = [each for each in visitor.cookies() if each["name"] == "gateway_sessionid"]
    return str(found["value"])


# What she does while her session's key changes: each takes her to a rotated SECRET_KEY. Chromium
# has requests for one address wait for each other, for the sake of its cache; these do not.


def one_tab(tabs: tuple[Page, Page], at: str) -> None:
    tabs[0].goto(at)


def two_tabs(tabs: tuple[Page, Page], at: str) -> None:
    with tabs[0].expect_navigation(), tabs[1].expect_navigation():
        for number, tab in enumerate(tabs):
            tab.evaluate("address => { location.href = address }", f"{at}?tab={number}")


def ten_requests(tabs: tuple[Page, Page], at: str) -> None:
    """Have a page ask for much at once; it is of that gateway, and has no session itself."""
    tabs[0].goto(f"{at}healthz")
    statuses = tabs[0].evaluate(
        """async ([address, number]) => Promise.all(
            Array.from({length: number}, async () =>
                (await fetch(address, {cache: "no-store"})).status))""",
        [at, TOGETHER],
    )
    assert len(statuses) == TOGETHER
    assert set(statuses) <= {200, 503}


Doing = Callable[[tuple[Page, Page], str], None]
DOINGS: list[Doing] = [one_tab, two_tabs, ten_requests]
# Those that the gateway waits seconds for come less often.
FAULTS = [*["cut"] * 4, "cut and down", *["cut"] * 4, "held"]


def length_of_a_key_change(site: Site, tabs: tuple[Page, Page]) -> int:
    """Return how many bytes the exchange has; the gateways are warm by then."""
    for url in (*site.urls[::-1], *site.urls[::-1]):
        site.proxy.heal()
        assert is_settled(tabs[0], url)
    assert site.proxy.passed > 1000
    return site.proxy.passed


def change_key_under(fault: str, site: Site, after: int, do: Callable[[], None]) -> None:
    """Do that while the exchange that changes the key is cut after so many bytes, or kept back."""
    if fault == "held":
        site.proxy.hold()
    else:
        site.proxy.cut(after, down_then=fault == "cut and down")
    do()
    if fault == "held":
        assert site.proxy.let_go() >= 1
    else:
        assert site.proxy.cut_after is None, "nothing was cut"
    site.proxy.heal()


def test_no_fault_at_a_key_change_signs_a_browser_out(
    site: Site, tabs: tuple[Page, Page], visitor: BrowserContext
) -> None:
    click_sign_in(tabs[0], site.urls[0])
    length = length_of_a_key_change(site, tabs)
    signed_out = []
    for number in range(ROUNDS):
        at = site.urls[1 - number % 2]
        fault, doing = FAULTS[number % len(FAULTS)], DOINGS[number % len(DOINGS)]
        before, after = key_of(visitor), number * length // ROUNDS
        change_key_under(fault, site, after, partial(doing, tabs, at))
        if not all(is_settled(tab, at) for tab in (tabs if doing is two_tabs else tabs[:1])):
            signed_out.append((number, fault, doing.__name__, after))
            click_sign_in(tabs[0], at)
        assert key_of(visitor) != before, (number, fault, doing.__name__, after)
    assert signed_out == []


# "Sign in", clicked twice


def is_callback(response: Response) -> bool:
    """Return True if the browser is back from the provider."""
    return "/callback/" in response.url


def may_sign_in(page: Page, at: str) -> None:
    """See that she is signed in, or can sign in when a key change has settled (15 s)."""
    if not is_settled(page, at):
        page.get_by_role("button", name="Sign in with corp").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert is_settled(page, at)


def test_sign_in_clicked_twice_ends_signed_in(
    site: Site, tabs: tuple[Page, Page], visitor: BrowserContext
) -> None:
    page, at = tabs[0], site.urls[0]
    for _ in range(10):
        visitor.clear_cookies()
        page.goto(at)
        with page.expect_response(is_callback):
            page.get_by_role("button", name="Sign in with corp").dblclick()
        may_sign_in(page, at)


def test_every_button_of_a_sign_in_clicked_twice_ends_signed_in(
    stack: LocalStack, page: Page
) -> None:
    sign_in(page, stack, click=Locator.dblclick)


@pytest.mark.parametrize("first_is", ["done before the second", "done after the second"])
def test_second_click_while_the_first_is_on_its_way_ends_signed_in(
    site: Site, tabs: tuple[Page, Page], first_is: str
) -> None:
    """The browser drops the response to the first, and with it the key that its session has."""
    page, at = tabs[0], site.urls[0]
    first_waits, go_on = threading.Event(), threading.Event()
    codes: list[int] = []

    def at_token() -> None:
        codes.append(1)
        if len(codes) == 1:
            first_waits.set()
            assert go_on.wait(TIMEOUT)

    def at_authorize() -> None:
        is_second = first_waits.is_set() and not go_on.is_set()
        if is_second and first_is == "done before the second":
            before = site.proxy.answered
            go_on.set()
            wait_until(lambda: site.proxy.answered > before, "the first changed the key", TIMEOUT)

    site.provider.hooks = {"/token": at_token, "/authorize": at_authorize}
    page.goto(at)
    box = page.get_by_role("button", name="Sign in with corp").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    wait_until(first_waits.is_set, "the first click is at the provider", TIMEOUT)
    with page.expect_response(is_callback):
        # By the mouse: a locator would wait until the first click has led somewhere.
        page.mouse.click(box["x"] + 5, box["y"] + 5)
    go_on.set()
    may_sign_in(page, at)
    assert len(codes) >= 2


def test_sign_in_in_two_tabs_at_once_ends_signed_in(site: Site, tabs: tuple[Page, Page]) -> None:
    at, meet = site.urls[0], threading.Barrier(2)
    codes: list[int] = []

    def at_token() -> None:
        codes.append(1)
        if len(codes) <= meet.parties:
            meet.wait(TIMEOUT)

    site.provider.hooks = {"/token": at_token}
    for tab in tabs:
        tab.goto(at)
    with tabs[0].expect_response(is_callback), tabs[1].expect_response(is_callback):
        for tab in tabs:
            tab.get_by_role("button", name="Sign in with corp").click(no_wait_after=True)
    for tab in tabs:
        may_sign_in(tab, at)
