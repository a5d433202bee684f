"""An OAuth client's consent in a real Chromium, by its policies for forms, frames and referrers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.clients import consent_address, redeem_code, register_client
from tests.e2e.signing_in import arrive
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.stack]


@dataclass
class App:
    """A program on the person's computer that waits for its response there."""

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> dict[str, str]:
        assert self.came.wait(20)
        (path, referrer) = self.asked[0]
        assert referrer is None
        return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}


@pytest.fixture
def app() -> Iterator[App]:
    found = App("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if urlsplit(self.path).path == "/callback":
                found.asked.append((self.path, self.headers.get("Referer")))
                found.came.set()
            body = b"<!doctype html><title>Done</title><link rel=icon href=data:,>Back in the app"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}/callback"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_person_signs_in_allows_an_app_and_returns_to_it(
    stack: LocalStack, page: Page, app: App
) -> None:
    client_id = register_client(stack, app.url)
    page.goto(consent_address(stack, client_id, app.url))
    page.get_by_role("button", name="Sign in with Local provider").click()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("ada")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Allow").click()  # at the provider
    main = page.get_by_role("main")
    expect(main).to_contain_text("Browser test")
    expect(main).to_contain_text("this computer")
    page.get_by_role("button", name="Allow").click()  # the app
    page.wait_for_url(f"http://127.0.0.1:{stack.provider}/**")
    page.get_by_role("button", name="Allow").click()  # at the provider, for the app
    expect(page.get_by_text("Back in the app")).to_be_visible()
    response = app.answer()
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
    assert app.answer()["error"] == "access_denied"
