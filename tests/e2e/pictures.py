"""`python -m tests.e2e.pictures`: takes the screenshots of the docs from the real pages.

A local stack and a Chromium of its own enter; the PNG files of `docs/images` leave, in light and in
dark colours, made small by Debian's `pngquant`. The apps in them register as Codex and Claude Code
do. `make screenshots` runs it.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect, sync_playwright

from tests import ROOT
from tests.e2e.clients import consent_address, redeem_code, register_client
from tests.e2e.conftest import ARGUMENTS, CHROMIUM
from tests.e2e.signing_in import sign_in
from tests.e2e.stack import LocalStack

FOLDER = ROOT / "docs" / "images"
WIDTH, HEIGHT = 800, 400  # pixels; a page that is higher is shown whole
SEEN_WHOLE = 2000  # pixels: the height of a window in which every part of a page is seen
SMALLER = ("/usr/bin/pngquant", "--force", "--ext=.png", "--strip", "64")  # colours
BYTES_MAX = 60_000
FILES: dict[Literal["dark", "light"], str] = {"dark": "-dark", "light": ""}
APPS = {
    "Codex": "http://127.0.0.1:9/callback",
    "Claude Code (gateway-demo)": "http://localhost:9/callback",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as state, opened() as page:
        stack = LocalStack(Path(state))
        with stack.running():
            take_all(stack, page)


def take_all(stack: LocalStack, page: Page) -> None:
    """Go the way of a person who connects two apps."""
    page.goto(stack.url)
    take_picture(page, "sign-in")
    sign_in(page, stack)
    page.reload()  # without the word of welcome
    take_picture(page, "connections")
    for name, redirect_uri in APPS.items():
        allow_app(stack, page, name, redirect_uri)
    page.goto(f"{stack.url}/apps/")
    take_picture(page, "connected-apps")


def allow_app(stack: LocalStack, page: Page, name: str, redirect_uri: str) -> None:
    """Allow an app, which fetches its tokens."""
    client_id = register_client(stack, redirect_uri, name)
    page.goto(consent_address(stack, client_id, redirect_uri, "demo"))
    take_picture(page, "consent")
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"http://127.0.0.1:{stack.provider}/**")
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("Back in the app")).to_be_visible()
    (code,) = parse_qs(urlsplit(page.url).query)["code"]
    redeem_code(stack, client_id, code).raise_for_status()


def take_picture(page: Page, name: str) -> None:
    """Write two pictures of the whole page once its buttons wait no longer, in few colours."""
    page.set_viewport_size({"width": WIDTH, "height": SEEN_WHOLE})
    expect(page.locator("[aria-disabled=true]")).to_have_count(0)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    for scheme, end in FILES.items():
        page.emulate_media(color_scheme=scheme)
        file = FOLDER / f"{name}{end}.png"
        page.screenshot(path=file, full_page=True)
        subprocess.run([*SMALLER, file], check=True)
        assert file.stat().st_size < BYTES_MAX, f"{file} has {file.stat().st_size} bytes."


@contextmanager
def opened() -> Iterator[Page]:
    """Open a window in which an app's own address answers, though nothing listens there."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        size = {"width": WIDTH, "height": HEIGHT}
        page = chromium.new_page(viewport=size)  # type: ignore[arg-type]
        page.route("**/callback?**", lambda route: route.fulfill(body="Back in the app"))
        yield page
        chromium.close()


if __name__ == "__main__":
    main()
