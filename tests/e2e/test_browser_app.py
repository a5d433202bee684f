"""The files of docs/spa.md behind nginx, Caddy and Vite, and the app of the guide, in a browser."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect
from playwright.sync_api import Error as PlaywrightError

from tests import ROOT
from tests.e2e.confirming import confirm, show_ending
from tests.e2e.signing_in import log_in
from tests.e2e.stack import LocalStack
from tests.guides.page import NewFile, read_steps
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.processes import free_ports, is_listening, running, started
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("npm") is None, reason="NO NPM: install Node and npm"),
]

FILES, START = (
    {each.path: each.text for each in read_steps(page.read_text()) if isinstance(each, NewFile)}
    for page in (ROOT / "docs/spa.md", ROOT / "docs/guides/browser-app.md")
)
APP = {
    "package.json": '{"private": true, "type": "module"}',
    "index.html": START["index.html"],
    "src/main.js": START["src/main.js"] + "window.gateway = gateway;\n",
}
VITE = "vite@7"
POSTED: list[str] = []  # bodies that the upstream was sent
BESIDE: list[tuple[str | None, str | None]] = []  # cookie and address that its backend was sent
PROVIDER = "Sign in with Local provider"
# What the app does with an error, as far as a test sees it.
OUTCOME = """async ([path, options]) => {
  try { return await (await gateway.call(path, options)).json(); }
  catch (error) { return { status: error.status, code: error.code, wait: error.retryAfter }; }
}"""
FROM_MEMORY = """setTimeout(() =>
  dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })))"""
LISTEN = """(path) => {
  window.heard = [];
  window.source = new EventSource(path);
  source.onmessage = (event) => heard.push(event.data);
}"""


class Backend(QuietHandler):
    """An upstream, and a backend beside the gateway: says what it was sent."""

    def serve_request(self) -> None:
        if self.path.startswith("/reports/"):
            BESIDE.append((self.headers.get("Cookie"), self.headers.get("X-Forwarded-For")))
        if self.path == "/events":
            last = int(self.headers.get("Last-Event-ID", 0))
            event = f"retry: 10\nid: {last + 1}\ndata: {last + 1}\n\n".encode()
            self.respond(200, event, "text/event-stream")
            return  # and the stream ends
        body = self.read_body().decode()
        if self.command == "POST":
            POSTED.append(body)
        told = {"method": self.command, "body": body, "signed": "Authorization" in self.headers}
        self.respond(200, json.dumps(told).encode())

    do_GET = do_POST = serve_request


@dataclass
class Site:
    """The app's folder, the stack, and the ports of front, backend and gateway."""

    folder: Path
    stack: LocalStack
    front: int
    backend: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.front}"

    def write(self, name: str, gateway: int, *changes: tuple[str, str]) -> Path:
        """Write a configuration of the guide with this test's ports and folders."""
        text = FILES[name]
        for shown, own in (
            ("127.0.0.1:8000", f"127.0.0.1:{gateway}"),
            ("127.0.0.1:8100", f"127.0.0.1:{self.backend}"),
            ("/srv/app", str(self.folder / "dist")),
            *changes,
        ):
            assert shown in text or name == "vite.config.js", shown
            text = text.replace(shown, own)
        path = self.folder / Path(name).name
        path.write_text(text)
        return path

    @contextmanager
    def run(self, command: list[str]) -> Iterator[None]:
        """Run a server on the front port. It ends by a signal that its children hear of, too."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        log = self.folder / "front.log"
        with (
            log.open("ab") as output,
            started(
                command, variables, stdout=output, stderr=output, end=subprocess.Popen.terminate
            ) as process,
        ):
            wait_until(lambda: process.poll() is not None or is_listening(self.front), "it listens")
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("app")
    for name, text in (APP | {"src/gateway.js": FILES["src/gateway.js"]}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    install = ["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", VITE]
    if subprocess.run(
        install, cwd=folder, capture_output=True, timeout=200, check=False
    ).returncode:
        pytest.skip("NO VITE: npm reaches no registry")
    build = [str(folder / "node_modules/.bin/vite"), "build"]
    subprocess.run(build, cwd=folder, check=True, timeout=100)
    [front] = free_ports(1)
    with serve_handler(Backend) as backend:
        stack = LocalStack(
            folder / "state",
            PUBLIC_URL=f"http://localhost:{front}",
            UPSTREAM_API_URL=backend,
            UPSTREAM_API_PROVIDER="local",
        )
        with stack.running():
            yield Site(folder, stack, front, int(backend.rpartition(":")[2]))


def nginx(site: Site, gateway: int) -> AbstractContextManager[Any]:
    if shutil.which("nginx") is None:
        pytest.skip("NO NGINX: install Debian's nginx")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"{each}_temp_path {site.folder}/nginx/{each}; " for each in kinds)
    (site.folder / "nginx").mkdir(exist_ok=True)
    path = site.write(
        "/etc/nginx/nginx.conf",
        gateway,
        ("listen 443 ssl;", f"listen 127.0.0.1:{site.front};"),
        ("http {\n", f"http {{ access_log off; {own}\n"),
    )
    path.write_text(re.sub(r"(?m)^ *ssl_.*\n", "", path.read_text()))
    options = f"daemon off; pid {site.folder}/nginx/pid; error_log stderr;"
    user = " user root;" if os.geteuid() == 0 else ""  # the test's folders are its own
    return site.run(["nginx", "-p", str(site.folder), "-c", str(path), "-g", options + user])


def caddy(site: Site, gateway: int) -> AbstractContextManager[Any]:
    if shutil.which("caddy") is None:
        pytest.skip("NO CADDY: install Debian's caddy")
    own = "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n"
    path = site.write(
        "/etc/caddy/Caddyfile",
        gateway,
        ("app.example.com {", f"{own}http://localhost:{site.front} {{"),
    )
    return site.run(["caddy", "run", "--adapter", "caddyfile", "--config", str(path)])


def vite(site: Site, gateway: int) -> AbstractContextManager[Any]:
    site.write("vite.config.js", gateway)
    command = [str(site.folder / "node_modules/.bin/vite"), str(site.folder), "--strictPort"]
    config = ["--config", str(site.folder / "vite.config.js")]
    return site.run([*command, *config, "--host", "127.0.0.1", "--port", str(site.front)])


Front = Callable[[Site, int], AbstractContextManager[Any]]


@contextmanager
def opened(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        context.set_default_timeout(10_000)
        yield context


def sign_in(page: Page, user: str = "ada") -> None:
    page.locator("#in").click()
    page.get_by_role("button", name=PROVIDER).click()
    log_in(page, user)
    page.get_by_role("button", name="Allow").click()
    expect(page.locator("#who")).to_have_text(user)


def call(page: Page, path: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(OUTCOME, [path, options])
    return found


@pytest.mark.parametrize("front", [nginx, caddy, vite])
def test_app_works_behind(site: Site, browser: Browser, front: Front) -> None:
    with front(site, site.stack.gateway), opened(browser) as context:
        page = context.new_page()
        wanted = f"{site.url}/items/7?a=1&b=x%20y"
        page.goto(wanted)
        expect(page.locator("#who")).to_have_text("nobody")
        assert call(page, "api/things")["code"] == "signed_out"
        sign_in(page)
        assert page.url == wanted

        assert call(page, "api/things") == {"method": "GET", "body": "", "signed": True}
        page.get_by_role("button", name="Call the API").click()
        expect(page.locator("#answer")).to_contain_text('"signed": true')
        posted = {"method": "POST", "body": "text", "signed": True}
        assert call(page, "api/things", method="POST", body="text") == posted
        context.clear_cookies(name="gateway_csrftoken")
        assert call(page, "api/things", method="POST", body="text") == posted
        page.evaluate(LISTEN, "/gateway/api/events")
        wait_until(lambda: int(page.evaluate("heard.length")) >= 3, "the stream goes on twice")
        assert page.evaluate("heard.slice(0, 3)") == ["1", "2", "3"]

        with page.expect_navigation():  # what a browser shows from memory is loaded again
            page.evaluate(FROM_MEMORY)
        expect(page.locator("#who")).to_have_text("ada")

        check_addresses(page)
        check_ten_tabs(context, site)
        if front is not vite:
            check_backend(page, site)
        check_paths(site)
        check_connecting(page)
        check_outage(page, site)
        check_end_elsewhere(page, site, browser)
        check_other_user(context, site)


@pytest.mark.parametrize("front", [nginx, caddy, vite])
def test_gateway_that_is_down_is_no_sign_out_behind(
    site: Site, browser: Browser, front: Front
) -> None:
    [nobody] = free_ports(1)
    with front(site, nobody), opened(browser) as context:
        page = context.new_page()
        page.goto(site.url)
        expect(page.locator("#who")).to_have_text(re.compile(r"^50\d$"))


def check_addresses(page: Page) -> None:
    """Neither what an app puts into a path nor what an error names leads to another address."""
    before = page.url
    for path in ("../home/", "api/../../home/", "api/%2e%2E/%2E./home/", "api\\\\..\\\\..\\\\home"):
        with pytest.raises(PlaywrightError, match="TypeError"):
            page.evaluate("(path) => gateway.call(path)", path)
    for url in ("https://evil.example/", "//evil.example", "javascript:document.body.remove()"):
        page.evaluate("(url) => gateway.signIn({ sign_in_url: url })", url)
    expect(page.locator("#who")).to_have_text("ada")
    assert page.url == before


def check_ten_tabs(context: BrowserContext, site: Site) -> None:
    tabs = [context.new_page() for _ in range(10)]
    for tab in tabs:
        tab.goto(site.url, wait_until="commit")
    for tab in tabs:
        expect(tab.locator("#who")).to_have_text("ada")
        assert call(tab, "api/things", method="POST", body="x")["method"] == "POST"
        tab.close()


def check_backend(page: Page, site: Site) -> None:
    """A backend beside the gateway gets no cookie and no made-up address, whatever is sent."""
    BESIDE.clear()
    page.evaluate("fetch('/reports/latest', { credentials: 'include' }).then((r) => r.text())")
    cookies = "gateway_sessionid=a; gateway_sessionid-next=b; __Host-sessionid=c"
    made_up = {"Cookie": cookies, "X-Forwarded-For": "192.0.2.1"}
    requests.get(f"{site.url}/reports/", headers=made_up, timeout=10)
    assert BESIDE == [(None, "127.0.0.1")] * 2


def check_paths(site: Site) -> None:
    for path in ("token", "oauth/token", ".well-known/oauth-authorization-server", "home/"):
        response = requests.get(f"{site.url}/{path}", timeout=10)
        assert "X-Request-ID" in response.headers, path
    for path in ("", "tokens", "homes/1", "deep/link?x=1"):
        response = requests.get(f"{site.url}/{path}", headers={"Accept": "text/html"}, timeout=10)
        assert (response.status_code, 'id="who"' in response.text) == (200, True), path
        assert "X-Request-ID" not in response.headers


def check_connecting(page: Page) -> None:
    """An error leads to where the user connects what it names, and from there back."""
    before = page.url
    assert call(page, "notes", method="POST", body="{}")["code"] == "not_connected"
    page.evaluate("gateway.call('notes').catch((error) => setTimeout(gateway.signIn, 0, error))")
    confirm(page.get_by_role("button", name="Connect Notes"))
    page.get_by_role("button", name="ada@notes.example").click()
    page.wait_for_url(before)
    assert call(page, "notes", method="POST", body="{}")["code"] is None  # the server's own error

    again = {"sign_in_url": "/accounts/oidc/local/login/?process=connect"}  # as of a lost token
    page.evaluate("(error) => setTimeout(gateway.signIn, 0, error)", again)
    confirm(page.get_by_role("button", name="Continue to Local provider"))
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(before)
    expect(page.locator("#who")).to_have_text("ada")


def expect_closed(page: Page) -> None:
    """Wait until the browser gives a stream up, which it does at any status but 200."""
    wait_until(lambda: page.evaluate("source.readyState === EventSource.CLOSED"), "it is closed")


def check_outage(page: Page, site: Site) -> None:
    """The app keeps its page and its session while the table does not answer."""
    assert site.stack.process is not None
    family = psutil.Process(site.stack.process.pid).children(recursive=True)
    [table] = [each for each in family if "roto-server" in " ".join(each.cmdline())]
    before = page.url
    page.evaluate(LISTEN, "/gateway/api/events")
    table.suspend()
    try:
        failed = call(page, "api/things")
        expect_closed(page)
    finally:
        table.resume()
    assert (failed["status"], page.url) == (503, before)
    assert failed["wait"] > 0
    wait_until(lambda: call(page, "api/things").get("method") == "GET", "the table is back")


def check_end_elsewhere(page: Page, site: Site, browser: Browser) -> None:
    page.evaluate(LISTEN, "/gateway/api/events")
    with opened(browser) as context:
        other = context.new_page()
        other.goto(f"{site.url}/home")
        other.goto(f"{site.url}/x")
        sign_in(other)
        other.goto(f"{site.url}/sessions/")
        confirm(show_ending(other, "End all other sessions"))
        expect(other.get_by_role("status").first).to_contain_text("ended")
    assert call(page, "api/things")["code"] == "signed_out"
    expect_closed(page)
    assert page.evaluate("gateway.whoAmI()") is None


def check_other_user(context: BrowserContext, site: Site) -> None:
    """What one user's page sends after another tab signed in another user is not sent at all."""
    context.clear_cookies()
    page, other = context.new_page(), context.new_page()
    page.goto(site.url)
    sign_in(page)
    call(page, "api/things")
    context.clear_cookies()
    other.goto(site.url)
    sign_in(other, "grace")
    POSTED.clear()
    page.evaluate("void gateway.call('api/things', { method: 'POST', body: 'by ada' })")
    expect(page.locator("#who")).to_have_text("grace")
    assert call(page, "api/things", method="POST", body="by grace")["method"] == "POST"
    assert POSTED == ["by grace"]


@contextmanager
def gateway_with(site: Site, single_logout: str) -> Iterator[int]:
    """Run another gateway on the same table, with another kind of single logout."""
    [port] = free_ports(1)
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    variables = site.stack.environment() | {"OAUTH_LOCAL_SINGLE_LOGOUT": single_logout}
    with running(command, variables, site.folder / f"{single_logout}.log", port):
        yield port


# Whether the local provider asks for a password afterwards: its cookie is `Lax`, so a POST from
# another site has none.
KINDS = {"0": False, "1": True, "no-hint": True, "post": False, "post-no-hint": False}


@pytest.mark.parametrize(("kind", "ends_there"), KINDS.items())
def test_sign_out_comes_back_to_the_app(
    site: Site, browser: Browser, kind: str, *, ends_there: bool
) -> None:
    with gateway_with(site, kind) as gateway, nginx(site, gateway), opened(browser) as context:
        page = context.new_page()
        page.goto(f"{site.url}/items")
        sign_in(page)
        at_the_app = page.evaluate("history.length")
        page.evaluate("gateway.signOut()")
        if kind == "no-hint":  # The provider asks, since nothing shows who came.
            page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{site.url}/")
        expect(page.locator("#who")).to_have_text("nobody")
        page.evaluate(f"setTimeout(() => history.go({at_the_app} - history.length))")
        page.wait_for_url(f"{site.url}/items")
        expect(page.locator("#who")).to_have_text("nobody")
        page.locator("#in").click()
        page.get_by_role("button", name=PROVIDER).click()
        asks = page.get_by_label("Password")
        expect(asks if ends_there else page.get_by_role("button", name="Allow")).to_be_visible()
