"""The local OpenID provider as a real process, over HTTP."""

import base64
import hashlib
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import jwt
import pytest
import requests

from gateway_site.local.provider import PEOPLE
from tests.local.form import submit
from tests.support.processes import free_ports, running

pytestmark = [pytest.mark.slow, pytest.mark.stack]
CALLBACK = "http://127.0.0.1:1/accounts/oidc/local/login/callback/"  # nothing listens there
HOME = "http://127.0.0.1:1/"
ADA, GRACE = PEOPLE


@dataclass
class Provider:
    """A running provider and its one client."""

    port: int
    state: Path
    client_id: str = "gateway"
    client_secret: str = field(default_factory=secrets.token_urlsafe, repr=False)
    life: int = 3600

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
        return inherited | {
            "PROVIDER_CLIENT_ID": self.client_id,
            "PROVIDER_CLIENT_SECRET": self.client_secret,
            "PROVIDER_REDIRECT_URIS": CALLBACK,
            "PROVIDER_POST_LOGOUT_REDIRECT_URIS": HOME,
            "PROVIDER_ACCESS_TOKEN_LIFE": str(self.life),
        }

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Run the provider; yields its process id."""
        module = [sys.executable, "-m", "gateway_site.local.provider"]
        command = [*module, "--port", str(self.port), "--state", str(self.state)]
        with running(command, self.environment(), self.log, self.port) as process:
            yield process.pid

    @property
    def log(self) -> Path:
        return self.state.with_suffix(".log")

    def endpoint(self, name: str) -> str:
        response = requests.get(f"{self.issuer}/.well-known/openid-configuration", timeout=10)
        url = response.json()[name]
        assert isinstance(url, str)
        return url

    def post(self, endpoint: str, **data: str) -> requests.Response:
        """Call an endpoint as the client's server."""
        return requests.post(
            self.endpoint(endpoint), data, auth=(self.client_id, self.client_secret), timeout=10
        )


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(free_ports(1)[0], tmp_path_factory.mktemp("provider") / "state")
    with provider.serving():
        yield provider


def challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


@dataclass
class Browser:
    """A person's browser, which the client sends to the provider and gets back."""

    provider: Provider
    session: requests.Session
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def open(self, path: str = "/") -> requests.Response:
        return self.session.get(self.provider.issuer + path, timeout=10)

    def request(self, **changes: str | None) -> dict[str, str]:
        """Return a valid authorization request; None removes a parameter."""
        good: dict[str, str | None] = {
            "client_id": self.provider.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": challenge(self.verifier),
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def send(self, method: str, endpoint: str, request: Any) -> requests.Response:
        """Send a request to an endpoint, and follow no redirect."""
        url = self.provider.endpoint(endpoint)
        return self.session.request(method, url, request, allow_redirects=False, timeout=10)

    def authorize(self, **changes: str | None) -> requests.Response:
        return self.send("GET", "authorization_endpoint", self.request(**changes))

    def sign_in(self) -> requests.Response:
        """Go from the authorization endpoint through the login page to the consent page."""
        url = self.provider.endpoint("authorization_endpoint")
        login = self.session.get(url, params=self.request(), timeout=10)
        assert urlsplit(login.url).path == "/login/"
        after_login = submit(self.session, login, login=ADA.username, password=ADA.password)
        consent = self.session.get(urljoin(login.url, after_login.headers["Location"]), timeout=10)
        assert "Allow access?" in consent.text
        return consent

    def obtain_code(self) -> str:
        response = response_of(submit(self.session, self.sign_in(), action="grant"))
        assert response["state"] == "the-state"
        return response["code"]

    def obtain_tokens(self) -> dict[str, str]:
        response = exchange(self.provider, self.obtain_code(), self.verifier)
        assert response.status_code == 200
        tokens: dict[str, str] = response.json()
        return tokens


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture
def browser(provider: Provider, session: requests.Session) -> Browser:
    return Browser(provider, session)


def response_of(response: requests.Response) -> dict[str, str]:
    """Return the parameters of the redirect to the client."""
    location = response.headers["Location"]
    assert location.startswith(CALLBACK)
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def exchange(provider: Provider, code: str, verifier: str | None) -> requests.Response:
    proof = {} if verifier is None else {"code_verifier": verifier}
    return provider.post(
        "token_endpoint",
        grant_type="authorization_code",
        code=code,
        redirect_uri=CALLBACK,
        **proof,
    )


def userinfo(provider: Provider, access_token: str) -> requests.Response:
    return requests.get(
        provider.endpoint("userinfo_endpoint"),
        headers={"Authorization": f"Bearer {access_token}"},
        timeout=10,
    )


def refresh(provider: Provider, refresh_token: str) -> requests.Response:
    return provider.post("token_endpoint", grant_type="refresh_token", refresh_token=refresh_token)


def signing_keys(provider: Provider) -> dict[str, object]:
    keys: dict[str, object] = requests.get(provider.endpoint("jwks_uri"), timeout=10).json()
    return keys


def test_discovery_names_this_issuer_and_s256_alone(provider: Provider) -> None:
    response = requests.get(
        f"{provider.issuer}/.well-known/openid-configuration", timeout=10
    ).json()
    assert response["issuer"] == provider.issuer
    assert response["code_challenge_methods_supported"] == ["S256"]
    assert response["response_types_supported"] == ["code"]
    assert response["grant_types_supported"] == ["authorization_code", "refresh_token"]


def test_sign_in_yields_tokens_that_name_the_person(provider: Provider, browser: Browser) -> None:
    tokens = browser.obtain_tokens()
    key = jwt.PyJWK(signing_keys(provider)["keys"][0])  # type: ignore[index]  # JSON
    claims = jwt.decode(tokens["id_token"], key, audience=provider.client_id)
    person = userinfo(provider, tokens["access_token"]).json()

    assert set(tokens["scope"].split()) == {"openid", "profile", "email"}
    assert int(tokens["expires_in"]) == 3600
    assert claims["iss"] == provider.issuer
    assert claims["nonce"] == "the-nonce"
    assert claims["sub"] == person["sub"]
    assert person["email"] == ADA.email
    assert person["email_verified"] is True
    assert person["name"] == "Ada Lovelace"


def test_refusing_consent_sends_access_denied_to_the_client(browser: Browser) -> None:
    consent = browser.sign_in()
    response = response_of(submit(browser.session, consent, action="cancel"))
    assert response == {"error": "access_denied", "state": "the-state"}


def test_sign_in_page_names_the_ready_made_people(browser: Browser) -> None:
    page = browser.open("/login/").text
    for person in PEOPLE:
        assert f"{person.username}</code> (password <code>{person.password}</code>)" in page


def test_wrong_password_does_not_sign_in(browser: Browser) -> None:
    login = browser.open("/login/")
    response = submit(browser.session, login, login=ADA.username, password=GRACE.password)
    assert response.status_code == 200
    assert "not correct" in response.text
    assert "provider_sessionid" not in browser.session.cookies


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge": ""},
        {"code_challenge_method": None},  # RFC 7636: then it would be `plain`
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
    ],
    ids=str,
)
def test_authorization_without_s256_challenge_is_refused(
    browser: Browser, changes: dict[str, str | None]
) -> None:
    browser.sign_in()  # consent is one step away
    for method in ("GET", "HEAD"):
        response = browser.send(method, "authorization_endpoint", browser.request(**changes))
        assert response_of(response)["error"] == "invalid_request"
        assert response_of(response)["state"] == "the-state"


def test_repeated_challenge_method_is_refused(browser: Browser) -> None:
    request = [*browser.request().items(), ("code_challenge_method", "plain")]
    response = browser.send("GET", "authorization_endpoint", request)
    assert response_of(response)["error"] == "invalid_request"


def test_posted_request_without_challenge_is_refused(provider: Provider, browser: Browser) -> None:
    browser.sign_in()
    request = browser.request(code_challenge=None, code_challenge_method=None)
    url = provider.endpoint("authorization_endpoint")
    to_get = browser.session.post(url, request, allow_redirects=False, timeout=10)
    response = browser.session.get(
        urljoin(url, to_get.headers["Location"]), allow_redirects=False, timeout=10
    )
    assert response_of(response)["error"] == "invalid_request"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/",
        CALLBACK + "more",
        CALLBACK.replace("127.0.0.1:1/", "127.0.0.1:2/"),  # allauth alone takes any port
        CALLBACK + "?next=https://evil.example/",
        None,
    ],
)
def test_unregistered_redirect_uri_is_refused_without_a_redirect(
    browser: Browser, redirect_uri: str | None
) -> None:
    browser.sign_in()
    response = browser.authorize(redirect_uri=redirect_uri)
    assert response.status_code == 400
    assert "not registered" in response.text


def test_unknown_client_is_refused_without_a_redirect(browser: Browser) -> None:
    response = browser.authorize(client_id="somebody")
    assert response.status_code == 400


@pytest.mark.parametrize("verifier", ["w" * 64, None])
def test_wrong_or_missing_verifier_is_refused(
    provider: Provider, browser: Browser, verifier: str | None
) -> None:
    code = browser.obtain_code()
    response = exchange(provider, code, verifier)
    assert response.status_code == 400
    assert response.json()["error"] in {"invalid_grant", "invalid_request"}


def test_challenge_itself_is_no_verifier(provider: Provider, browser: Browser) -> None:
    code = browser.obtain_code()
    assert exchange(provider, code, challenge(browser.verifier)).status_code == 400


def test_wrong_client_secret_is_refused(provider: Provider, browser: Browser) -> None:
    code = browser.obtain_code()
    impostor = Provider(provider.port, provider.state, client_secret="guessed")
    assert exchange(impostor, code, browser.verifier).status_code == 401


def test_code_works_once(provider: Provider, browser: Browser) -> None:
    code = browser.obtain_code()
    assert exchange(provider, code, browser.verifier).status_code == 200
    assert exchange(provider, code, browser.verifier).json()["error"] == "invalid_grant"


def test_refresh_rotates_the_refresh_token(provider: Provider, browser: Browser) -> None:
    first = browser.obtain_tokens()
    second = refresh(provider, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert userinfo(provider, second["access_token"]).status_code == 200
    spent = refresh(provider, first["refresh_token"])
    assert spent.status_code == 400
    assert spent.json()["error"] == "invalid_grant"


def test_revoked_tokens_no_longer_work(provider: Provider, browser: Browser) -> None:
    tokens = browser.obtain_tokens()
    for kind in ("access_token", "refresh_token"):
        response = provider.post("revocation_endpoint", token=tokens[kind], token_type_hint=kind)
        assert response.status_code == 200
    assert userinfo(provider, tokens["access_token"]).status_code == 401
    assert refresh(provider, tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_logout_at_the_client_ends_the_session_here_and_redirects_back(
    provider: Provider, browser: Browser
) -> None:
    tokens = browser.obtain_tokens()
    request = {
        "id_token_hint": tokens["id_token"],
        "client_id": provider.client_id,
        "post_logout_redirect_uri": HOME,
        "state": "bye",
    }
    response = browser.send("GET", "end_session_endpoint", request)
    assert response.headers.get("Location") == f"{HOME}?state=bye", response.text
    assert "Not signed in" in browser.open().text
    assert userinfo(provider, tokens["access_token"]).status_code == 401


def test_logout_does_not_redirect_to_an_unregistered_address(browser: Browser) -> None:
    tokens = browser.obtain_tokens()
    request = {
        "id_token_hint": tokens["id_token"],
        "post_logout_redirect_uri": "https://evil.example/",
    }
    response = browser.send("GET", "end_session_endpoint", request)
    assert "Location" not in response.headers


def test_pages_allow_nothing_but_their_own_style_and_the_clients_origin(browser: Browser) -> None:
    consent = browser.sign_in()
    policy = consent.headers["Content-Security-Policy"]
    assert set(policy.split("; ")) == {
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "form-action 'self' http://127.0.0.1:1",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    }
    assert consent.headers["X-Frame-Options"] == "DENY"


def test_cookie_names_are_not_those_of_another_django_site(browser: Browser) -> None:
    browser.sign_in()
    assert set(browser.session.cookies.keys()) == {"provider_sessionid", "provider_csrftoken"}


@pytest.mark.parametrize(
    "path", ["/signup/", "/accounts/signup/", "/password/reset/", "/identity/o/api/clients"]
)
def test_nobody_can_sign_up_or_reset_or_register(provider: Provider, path: str) -> None:
    response = requests.get(provider.issuer + path, timeout=10)
    assert response.status_code == 404
    assert "<h1>Page not found</h1>" in response.text
    assert '<link rel="stylesheet" href="/style.css">' in response.text


def test_other_hosts_are_refused(provider: Provider) -> None:
    headers = {"Host": f"evil.example:{provider.port}"}
    assert requests.get(provider.issuer, headers=headers, timeout=10).status_code == 400


@pytest.mark.long
def test_tokens_keys_and_sign_in_survive_kill_9(tmp_path: Path, session: requests.Session) -> None:
    provider = Provider(free_ports(1)[0], tmp_path / "state")
    browser = Browser(provider, session)
    with provider.serving() as pid:
        tokens = browser.obtain_tokens()
        keys = signing_keys(provider)
        os.kill(pid, signal.SIGKILL)
    with provider.serving():
        assert signing_keys(provider) == keys
        assert userinfo(provider, tokens["access_token"]).json()["email"] == ADA.email
        assert refresh(provider, tokens["refresh_token"]).status_code == 200
        assert f"Signed in here as {ADA.username}" in browser.open().text


@pytest.mark.slow
def test_access_tokens_live_as_long_as_configured(
    tmp_path: Path, session: requests.Session
) -> None:
    provider = Provider(free_ports(1)[0], tmp_path / "state", life=7)
    with provider.serving():
        assert int(Browser(provider, session).obtain_tokens()["expires_in"]) == 7


@pytest.mark.slow
def test_state_is_readable_by_its_owner_only_and_the_log_contains_no_secret(
    tmp_path: Path, session: requests.Session
) -> None:
    provider = Provider(free_ports(1)[0], tmp_path / "state")
    with provider.serving():
        tokens = Browser(provider, session).obtain_tokens()
    assert provider.state.stat().st_mode & 0o777 == 0o700
    for file in provider.state.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    log = provider.log.read_text(encoding="utf-8")
    secret_values = [provider.client_secret, tokens["access_token"], tokens["refresh_token"]]
    assert not [value for value in secret_values if value in log]
    assert "code=" not in log
