"""An OAuth client's consent in a real Chromium, by its policies for forms, frames and referrers."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.clients import consent_address, redeem_code, register_client
from tests.e2e.signing_in import arrive, log_in
from tests.e2e.stack import LocalStack
from tests.support.http_server import QuietHandler, serve_handler

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.stack]


@dataclass
class App:
    """A program on the person's computer that waits for its response there."""

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def wait_for_response(self) -> dict[str, str]:
        assert self.came.wait(20)
        (path, referrer) = self.asked[0]
        assert referrer is None
        return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}


@pytest.fixture
def app() -> Iterator[App]:
    found = App("")

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            if urlsplit(self.path).path == "/callback":
                found.asked.append((self.path, self.headers.get("Referer")))
                found.came.set()
            body = b"<!doctype html><title>Done</title><link rel=icon href=data:,>Back in the app"
            self.respond(200, body, "text/html")

    with serve_handler(Handler) as address:
        found.url = f"{address}/callback"
        yield found


def test_person_signs_in_allows_an_app_and_returns_to_it(
    stack: LocalStack, page: Page, app: App
) -> None:
    client_id = register_client(stack, app.url)
    page.goto(consent_address(stack, client_id, app.url))
    page.get_by_role("button", name="Sign in with Local provider").click()
    log_in(page)
    page.get_by_role("button", name="Allow").click()  # at the provider
    main = page.get_by_role("main")
    expect(main).to_contain_text("Browser test")
    expect(main).to_contain_text("this computer")
    page.get_by_role("button", name="Allow").click()  # the app
    page.wait_for_url(f"http://127.0.0.1:{stack.provider}/**")
    page.get_by_role("button", name="Allow").click()  # at the provider, for the app
    expect(page.get_by_text("Back in the app")).to_be_visible()
    response = app.wait_for_response()
    assert (response["state"], response["iss"]) == ("the-state", stack.url)
    given = redeem_code(stack, client_id, response["code"])
    assert given.status_code == 200, given.text
    page.goto(stack.url)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_app_gets_the_error_if_the_person_denies(stack: LocalStack, page: Page, app: App) -> None:
    arrive(page, stack)
    page.goto(consent_address(stack, register_client(stack, app.url), app.url))
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_text("Back in the app")).to_be_visible()
    assert app.wait_for_response()["error"] == "access_denied"
