"""What extends a browser's session: pages and admitted calls, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

import pytest
import requests
from pytest_django import Settings

from gateway_site.forwarding.calls.user_cache import user_cache
from tests.gateway_site.support.client_tokens import Caller
from tests.gateway_site.support.gateways import Gateway
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack
from tests.support.waiting import wait_until

NAME = "gateway_sessionid"
IDLE = 24 * 3600
ABSOLUTE = 7 * IDLE
STEP = IDLE // 20
VISITS = ["", "sessions/", "gateway/echo/x", "gateway/echo/events"]
DEAD = "gateway/dead/x"  # The call is made, and fails.
REJECTED = [
    "gateway/",
    "no-such-page",
    "try/unknown/",
    "gateway/unknown/x",
    "gateway/narrow/elsewhere",
    "gateway/other/x",
    "gateway/rated/x",
    "healthz",
]


@dataclass
class Browser:
    """A browser with its session's key only, and the age of the last cookie that it received."""

    gateway: Gateway
    key: str
    http: requests.Session = field(default_factory=requests.Session)
    cookie_age: int | None = None
    passed: int = 0  # seconds, which pass back again

    def pass_time(self, seconds: int) -> None:
        self.passed += seconds
        self.gateway.control(f"later/{seconds}")

    def get(self, path: str) -> requests.Response:
        """Request a page or call. The clock of `requests` is not that of the gateway."""
        self.http.trust_env = False
        self.http.cookies.clear()
        headers = {"Cookie": f"{NAME}={self.key}"}
        url = f"{self.gateway.url}/{path}"
        response = self.http.get(
            url, headers=headers, allow_redirects=False, timeout=20, stream=True
        )
        if "text/event-stream" in response.headers.get("Content-Type", ""):
            response.close()  # It stays open.
        for value in response.raw.headers.getlist("Set-Cookie"):
            if (cookie := SimpleCookie(value).get(NAME)) is not None:
                assert cookie.value in {self.key, ""}
                self.cookie_age = int(cookie["max-age"])
        return response

    def seconds_left(self) -> int:
        return int(self.gateway.control(f"seconds-left/{self.key}"))


@pytest.fixture
def browser(gateway: Gateway) -> Iterator[Browser]:
    """Sign in with an idle timeout of a day; afterwards, nothing has changed for other tests."""
    gateway.control(f"idle/{IDLE}")
    # Of a user without other sessions, which the home page would announce, and note that it has.
    key = gateway.control("cookie/newcomer").partition("=")[2]
    made = Browser(gateway, key)
    made.get("")  # The first visit notes the session itself.
    made.cookie_age = None
    yield made
    gateway.control(f"later/{-made.passed}")
    gateway.control(f"end/{key}")
    gateway.control(f"idle/{ABSOLUTE}")


@pytest.mark.parametrize(("path", "status"), [*((each, 200) for each in VISITS), (DEAD, 502)])
def test_visit_moves_the_end_of_session_and_cookie(
    browser: Browser, path: str, status: int
) -> None:
    browser.pass_time(IDLE // 10)
    assert browser.get(path).status_code == status
    assert (browser.seconds_left(), browser.cookie_age) == (IDLE - IDLE // 10, None)
    browser.pass_time(IDLE // 2)
    assert browser.get(path).status_code == status
    assert (browser.seconds_left(), browser.cookie_age) == (IDLE, IDLE)


@pytest.mark.parametrize("path", REJECTED)
def test_request_that_is_rejected_or_shows_nothing_is_no_visit(browser: Browser, path: str) -> None:
    for _ in range(3):  # more than the rate of one of them allows
        response = browser.get(path)
    browser.pass_time(IDLE - 10)
    browser.cookie_age = None
    response = browser.get(path)
    assert response.status_code >= 400 or path in {"gateway/", "healthz"}
    assert (browser.seconds_left(), browser.cookie_age) == (10, None)
    browser.pass_time(10)
    assert browser.get("").text.count("Sign out") == 0


@pytest.mark.long
def test_thousand_reads_of_the_index_do_not_move_the_end(browser: Browser) -> None:
    browser.pass_time(IDLE - 10)
    assert {browser.get("gateway/").status_code for _ in range(1000)} == {200}
    assert (browser.seconds_left(), browser.cookie_age) == (10, None)


@pytest.mark.parametrize("path", VISITS)
def test_visit_that_cannot_be_written_changes_no_response(browser: Browser, path: str) -> None:
    expected = browser.get(path)
    browser.pass_time(IDLE // 2)
    with browser.gateway.switch("writes/down", "writes/up"):
        for _ in range(3):
            response = browser.get(path)
            assert response.status_code == 200
            assert response.headers.keys() == expected.headers.keys()
            assert (browser.seconds_left(), browser.cookie_age) == (IDLE // 2, None)
    assert browser.get(path).status_code == 200
    assert (browser.seconds_left(), browser.cookie_age) == (IDLE, IDLE)


def test_call_that_outlasts_its_session_does_not_renew_the_cookie(browser: Browser) -> None:
    """After a sign-out, the browser may have signed in again: it would lose the new session."""
    gateway = browser.gateway
    told = browser.get("gateway/")
    csrf = {told.json()["csrf_header"]: told.json()["csrf_token"], "Origin": gateway.url}
    cookies = told.cookies.get_dict() | {NAME: browser.key}

    def body() -> Iterator[bytes]:
        yield b"first, "
        wait_until(lambda: browser.seconds_left() == IDLE, "the visit")
        if is_ended:
            gateway.control(f"end/{browser.key}")
        yield b"second"

    for is_ended in (False, True):
        browser.pass_time(IDLE // 2)
        url = f"{gateway.url}/gateway/echo/x"
        response = requests.post(url, data=body(), headers=csrf, cookies=cookies, timeout=20)
        assert response.json()["body"] == "first, second"
        assert (NAME in response.cookies) is not is_ended


def test_call_with_a_clients_token_extends_no_grant(browser: Browser) -> None:
    gateway = browser.gateway
    gateway.control("idle/1000")
    caller = Caller.allowed(gateway, "open")
    writes = gateway.control("session-writes/")
    browser.pass_time(500)
    assert caller.call("open/x").status_code == 200
    assert gateway.control("session-writes/") == writes
    assert caller.refresh().status_code == 200
    assert gateway.control("session-writes/") != writes
    caller.end()  # before time passes back
    gateway.end_grants.remove(caller.end)


@pytest.mark.parametrize(("path", "is_visit"), [("/gateway/", False), ("/sessions/", True)])
def test_index_is_no_visit_where_all_middleware_runs_for_calls(
    store: Stack,
    corp: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    path: str,
    *,
    is_visit: bool,
) -> None:
    """As with middleware of a project."""
    settings.SESSION_COOKIE_AGE = IDLE
    visitor.sign_in(corp)
    user_cache.cache_clear()
    store.clock.advance(IDLE // 2)
    assert visitor.client.get(path).status_code == 200
    [session] = store.sessions().values()
    assert (int(session["ttl"]["N"]) - store.clock() > IDLE * 0.9) == is_visit


def test_anonymous_visitor_makes_no_visits(
    store: Stack, corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    settings.SESSION_COOKIE_AGE = IDLE
    visitor.start()
    [before] = store.sessions().values()
    store.clock.advance(IDLE // 2)
    assert visitor.client.get("/").status_code == 200
    assert list(store.sessions().values()) == [before]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", marks=pytest.mark.long),
        pytest.param("gateway/echo/x", marks=pytest.mark.slow),
    ],
)
def test_week_of_visits_keeps_a_session_until_its_absolute_end(browser: Browser, path: str) -> None:
    renewals = 0
    for _ in range(ABSOLUTE // STEP - 1):
        browser.pass_time(STEP)
        browser.cookie_age = None
        assert browser.get(path).status_code == 200
        renewals += browser.cookie_age is not None
        left = browser.seconds_left()
        assert browser.cookie_age in {None, left, left - 1}, "whole seconds"
    assert left == STEP, "the session ends with its absolute timeout"
    assert renewals <= 10 * 7
    browser.pass_time(STEP)
    assert "Sign out" not in browser.get("").text
