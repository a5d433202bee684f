"""Every error in a real browser: the page is accessible, fits, and leads on.

The person opens an address, sends a form, or has cookies of sibling sites.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.template.loader import render_to_string
from playwright.sync_api import Browser, Page, expect

from tests.e2e.layout import OVERFLOW
from tests.gateway_site.support.gateways import Gateway, running_gateway, upstream_variables

pytestmark = [pytest.mark.browser, pytest.mark.long]
axe = Axe()
BROWSERS_COLORS = {"rules": {"color-contrast": {"enabled": False}}}

COOKIES = 18  # of 4,000 bytes: more than the server reads
DEMANDING = json.dumps([["www-authenticate", 'Bearer error="insufficient_scope", scope="more"']])
ELSEWHERE = json.dumps([["location", "https://evil.example/"]])


@dataclass
class ErrorState:
    """An error, the heading of its page, and what the person does."""

    status: int
    heading: str
    act: Callable[[Gateway, Page], None]


def open_page(path: str, *, times: int = 1) -> Callable[[Gateway, Page], None]:
    def act(gateway: Gateway, page: Page) -> None:
        for _ in range(times):
            page.goto(gateway.url + path)

    return act


def send_long_form(gateway: Gateway, page: Page) -> None:
    page.goto(f"{gateway.url}/accounts/login/")
    with page.expect_navigation():
        page.evaluate(
            """() => {
              const form = document.createElement("form");
              Object.assign(form, { method: "post", action: "/language/" });
              form.append(Object.assign(document.createElement("input"),
                { name: "a", value: "x".repeat(20000) }));
              document.body.append(form);
              form.submit();
            }"""
        )


def send_cookies(gateway: Gateway, page: Page) -> None:
    cookies = [
        {"name": f"sibling{number}", "value": "x" * 4000, "url": gateway.url}
        for number in range(COOKIES)
    ]
    page.context.add_cookies(cookies)  # type: ignore[arg-type]  # dicts of text
    page.goto(f"{gateway.url}/")


def without_store(gateway: Gateway, page: Page) -> None:
    with gateway.switch("store/down", "store/up"):
        page.goto(f"{gateway.url}/gateway/echo/x")
        page.get_by_role("button").and_(page.locator("[data-stop]")).click()


def with_odd_token(gateway: Gateway, page: Page) -> None:
    name, _, value = gateway.control("cookie/odd-token").partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": gateway.url}])
    page.goto(f"{gateway.url}/gateway/echo/x")


def upstream(name: str, **query: str) -> str:
    return f"/gateway/{name}/answer?" + "&".join(f"{k}={quote(v)}" for k, v in query.items())


def fail(gateway: Gateway, page: Page) -> None:
    """Get the page for an error in the code, of which the gateway has none."""
    content = render_to_string("500.html", {"request_id": "0123456789abcdef"})
    page.route("**/fails", lambda route: route.fulfill(status=500, body=content))
    page.goto(f"{gateway.url}/fails")


STATES = {
    "400": ErrorState(400, "Bad request", open_page("/gateway/echo/x?%zz")),
    "401": ErrorState(401, "Verbinden Sie Ihr Konto", open_page("/gateway/other/x")),
    "403": ErrorState(403, "Not allowed", open_page("/gateway/denied/x")),
    "403 more_scope": ErrorState(
        403, "More permissions are needed",
        open_page(upstream("notes", status="403", headers=DEMANDING)),
    ),
    "404": ErrorState(404, "Page not found", open_page("/gateway/nothing/x")),
    "405": ErrorState(405, "This does not work here", open_page("/sessions/end/")),
    "413": ErrorState(413, "Too large", send_long_form),
    "414": ErrorState(414, "The address is too long", open_page("/" + "x" * 9000)),
    "429": ErrorState(429, "Too many requests", open_page("/gateway/ratedapi/x", times=3)),
    "431": ErrorState(431, "Too many cookies", send_cookies),
    "500": ErrorState(500, "Something went wrong", fail),
    "502": ErrorState(502, "The service did not answer", open_page("/gateway/dead/x")),
    "502 misdirected": ErrorState(
        502, "The service led elsewhere",
        open_page(upstream("echo", status="302", headers=ELSEWHERE)),
    ),
    "502 unusable_token": ErrorState(502, "Your account cannot be used here", with_odd_token),
    "503": ErrorState(503, "Back in a moment", without_store),
    "504": ErrorState(504, "The service did not answer", open_page("/gateway/hasty/hang")),
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    denied = upstream_variables("DENIED", 9, ALLOWED_GROUPS="finance")
    with running_gateway(tmp_path_factory.mktemp("gateway"), variables=denied) as running:
        yield running


def open_error(gateway: Gateway, page: Page, name: str) -> None:
    """Get an error as the signed-in person."""
    cookie = {"name": "gateway_sessionid", "value": gateway.keys[0], "url": gateway.url}
    page.context.add_cookies([cookie])  # type: ignore[list-item]  # a dict of text
    STATES[name].act(gateway, page)


@pytest.mark.parametrize("name", STATES)
def test_page_of_an_error_is_accessible_and_fits(
    gateway: Gateway, browser: Browser, name: str
) -> None:
    with browser.new_context(locale="de-DE" if name == "401" else "en-GB") as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        responses: list[int] = []
        page.on("response", lambda each: responses.append(each.status))
        open_error(gateway, page, name)
        assert STATES[name].status in responses
        expect(page.get_by_role("heading", level=1)).to_have_text(STATES[name].heading)
        expect(page.locator(".actions a").first).to_be_visible()
        # Script and style sheet are rejected with the page: the browser sends them the cookies.
        copy = page.get_by_role("button", name="Fehlercode" if name == "401" else "the error code")
        expect(copy).to_have_count(0 if name == "431" else 1)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page, options=BROWSERS_COLORS if name == "431" else None)
            assert found.violations_count == 0, found.generate_report()
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            for direction in ("rtl", "ltr"):
                page.evaluate("each => { document.documentElement.dir = each }", direction)
                assert page.evaluate(OVERFLOW) <= 0, (width, direction)
