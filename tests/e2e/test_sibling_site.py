"""A sibling host plants its own session in a real Chromium, and gets nobody's accounts.

`http://evil.example.com` beside `https://app.example.com`; all names are this machine to the
browser. The raw sockets of `tests/gateway_site/edge/test_own_cookies.py` send what Chromium sends.
"""

import datetime
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.deploy_check import PRODUCTION
from tests.e2e.confirming import confirm
from tests.e2e.conftest import ARGUMENTS, CHROMIUM
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import environment
from tests.sessions_kms.support.odd_cookies import ODD_BYTES
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.keys import to_pem
from tests.support.processes import free_ports, running

pytestmark = [pytest.mark.browser, pytest.mark.long]

APP, EVIL = "app.example.com", "evil.example.com"
NAME = b"__Host-sessionid"
MALLORY = {"sub": "666", "email": "mallory@example.com", "name": "Mallory"}
ADA = {"sub": "1001", "email": "ada@example.com", "name": "Ada"}
ADA_ELSEWHERE = {"sub": "2002", "email": "ada@elsewhere.example", "name": "Ada"}


@dataclass
class Site:
    """A running gateway, its two providers, and the sibling beside it."""

    port: int
    corp: FakeProvider
    other: FakeProvider
    planted: list[bytes]  # the Set-Cookie headers of the sibling's page
    sibling_port: int

    @property
    def url(self) -> str:
        return f"https://{APP}:{self.port}/"

    @property
    def sibling_url(self) -> str:
        return f"http://{EVIL}:{self.sibling_port}/"

    def last_cookie_header(self, page: Page) -> bytes:
        """Give the Cookie header that came with the last visit of the home page, by anyone."""
        return page.request.get(f"https://127.0.0.1:{self.port}/_control/cookies").body()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that nobody vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, APP)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(APP)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private_key = folder / "site.crt", folder / "site.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(to_pem(key))
    return certificate, private_key


class Sibling(QuietHandler):
    """A page that sets what the test gave it."""

    planted: list[bytes]

    def do_GET(self) -> None:
        self.send_response(200)
        for cookie in self.planted:
            self.send_header("Set-Cookie", cookie.decode("latin-1"))
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    planted: list[bytes] = []
    handler = type("Handler", (Sibling,), {"planted": planted})
    (port,) = free_ports(1)
    with (
        fake_provider.serving(FakeProvider) as corp,
        fake_provider.serving(FakeProvider) as other,
        serve_handler(handler) as sibling,
    ):
        other.client_id = "other-client"
        variables = (
            {name: value for name, value in PRODUCTION.items() if not name.startswith("OAUTH_")}
            | environment("corp", corp)
            | environment("other", other, CLIENT_ID=other.client_id)
            | {
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
                "DATABASE_URL": f"sqlite:///{tmp_path}/gateway.sqlite3?timeout=30",
                "ALLOWED_HOSTS": APP,
                "PROXY_SCHEME_HEADER": "",
                "SIGN_IN_ALLOWED_DOMAINS": "*",  # the attacker has an account as well
            }
        )
        command = [sys.executable, "-m", "tests.e2e.https_gateway", str(port)]
        command += map(str, certificate(tmp_path))
        with running(command, variables, tmp_path / "gateway.log", port):
            yield Site(port, corp, other, planted, int(sibling.rpartition(":")[2]))


@pytest.fixture
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium to which every name is this machine."""
    names = "--host-resolver-rules=MAP * 127.0.0.1"
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, names])
    yield chromium
    chromium.close()


@pytest.fixture
def new_page(browser: Browser) -> Callable[[], Page]:
    """Yield a page in a separate browser without cookies."""

    def new_page() -> Page:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(10_000)
        return page

    return new_page


def sign_in(page: Page, site: Site, person: dict[str, str]) -> None:
    site.corp.person = person
    page.goto(site.url)
    page.get_by_role("button", name="Sign in with corp").click()
    expect(page.get_by_role("main")).to_contain_text(person["email"])


def session_key(page: Page, site: Site) -> bytes:
    found = {cookie["name"]: cookie["value"] for cookie in page.context.cookies(site.url)}
    return found[NAME.decode()].encode()


def plant(site: Site, page: Page, *names: bytes, key: bytes) -> None:
    site.planted[:] = [name + b"=" + key + b"; Domain=example.com; Path=/" for name in names]
    page.goto(site.sibling_url)


def test_attackers_session_gets_no_account(site: Site, new_page: Callable[[], Page]) -> None:
    attacker, victim = new_page(), new_page()
    sign_in(attacker, site, MALLORY)
    key = session_key(attacker, site)

    plant(
        site,
        victim,
        NAME,
        *(odd + NAME for odd in ODD_BYTES),
        *(NAME + odd for odd in ODD_BYTES),
        key=key,
    )
    victim.goto(site.url)
    sent = {pair.partition(b"=")[0] for pair in site.last_cookie_header(victim).split(b"; ")}
    # The browser itself refuses control characters, and from there what begins with the prefix.
    assert sent == {odd + NAME for odd in ODD_BYTES if odd > b"\x1f"}
    expect(victim.get_by_role("button", name="Sign in with corp")).to_be_visible()

    sign_in(victim, site, ADA)
    assert session_key(victim, site) != key
    site.other.person = ADA_ELSEWHERE
    confirm(victim.get_by_role("button", name="Connect other"))
    expect(victim.get_by_role("main")).to_contain_text(ADA_ELSEWHERE["email"])
    assert key in site.last_cookie_header(victim)  # It was sent all along.

    attacker.goto(site.url)
    expect(attacker.get_by_role("main")).to_contain_text(MALLORY["email"])
    expect(attacker.get_by_role("button", name="Connect other")).to_be_visible()
    expect(attacker.get_by_role("main")).not_to_contain_text("ada@")


def test_planted_cookie_does_not_end_the_victims_session(
    site: Site, new_page: Callable[[], Page]
) -> None:
    attacker, victim = new_page(), new_page()
    sign_in(attacker, site, MALLORY)
    sign_in(victim, site, ADA)
    plant(site, victim, b"\xa0" + NAME, key=session_key(attacker, site))
    victim.goto(site.url)
    assert b"\xa0" + NAME in site.last_cookie_header(victim)
    expect(victim.get_by_role("main")).to_contain_text(ADA["email"])
