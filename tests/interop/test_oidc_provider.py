"""The gateway as a client of `oidc-provider`: sign-in, refresh, sign-out, new keys, delays."""

import re
import time
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.stack import LocalStack
from tests.interop.openid_provider import OpenIDProvider
from tests.interop.person import Person
from tests.support.waiting import wait_until

# Three parts: the ciphertext of a session, which boto logs at DEBUG, may start like a token.
JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.")


@pytest.fixture
def ada(gateway: LocalStack) -> Person:
    return Person(gateway.url)


def test_sign_in_yields_a_token_that_the_provider_accepts(
    plain: OpenIDProvider, ada: Person
) -> None:
    assert ada.sign_in(plain).url == f"{ada.gateway}/"
    assert ada.is_signed_in
    response = ada.call("plain")
    assert (response.status_code, response.json()["sub"]) == (200, "ada")


def test_token_is_refreshed_and_its_successor_too(plain: OpenIDProvider, ada: Person) -> None:
    ada.sign_in(plain)
    before = len(plain.seen("POST", "/token", "refresh_token"))

    def refresh(times: int) -> bool:
        assert ada.call("plain").status_code == 200
        return len(plain.seen("POST", "/token", "refresh_token")) >= before + times

    wait_until(lambda: refresh(2), "refreshed twice, the refresh token rotating", 30)
    assert set(plain.seen("POST", "/token", "refresh_token")) == {200}


@pytest.mark.parametrize(("name", "status"), [("plain", 200), ("revoking", 401)])
def test_sign_out_ends_other_sessions_by_always_and_not_by_last(
    providers: dict[str, OpenIDProvider], ada: Person, name: str, status: int
) -> None:
    """The provider ends all tokens of its own session together, as it does by default."""
    provider = providers[name]
    lone = Person(ada.gateway, f"lone-{name}")  # no other test has sessions of this person
    lone.sign_in(provider)
    other = lone.in_another_browser()
    other.sign_in(provider)
    assert other.call(name).status_code == 200
    before = len(provider.seen("POST", "/token/revocation"))
    lone.sign_out_here()

    def settle() -> bool:
        revocations = provider.seen("POST", "/token/revocation")[before:]
        return revocations == ([] if name == "plain" else [200])

    wait_until(settle, "revoked, or not", 10)
    refreshes = len(provider.seen("POST", "/token", "refresh_token"))

    def refresh() -> bool:
        response = other.call(name)
        assert response.status_code == 200 or status != 200
        return len(provider.seen("POST", "/token", "refresh_token")) > refreshes

    wait_until(refresh, "refreshed", 30)
    assert other.call(name).status_code == status
    other.sign_out_here()
    if name == "plain":
        wait_until(
            lambda: provider.seen("POST", "/token/revocation")[before:] == [200],
            "revoked by the last session",
            10,
        )


def test_requests_are_pushed_where_the_provider_insists(
    providers: dict[str, OpenIDProvider], ada: Person
) -> None:
    pushed = providers["pushed"]
    before = len(pushed.seen("POST", "/request"))
    ada.sign_in(pushed)
    assert ada.call("pushed").status_code == 200
    assert pushed.seen("POST", "/request")[before:] == [201]
    assert set(pushed.seen("GET", "/auth")) <= {302, 303}


def test_tokens_are_bound_to_a_key_at_sign_in_refresh_and_the_upstream(
    providers: dict[str, OpenIDProvider], ada: Person
) -> None:
    bound = providers["bound"]  # its client only gets bound tokens
    ada.sign_in(bound)

    def refresh() -> bool:
        response = ada.call("bound")
        assert (response.status_code, response.json()["sub"]) == (200, "ada")
        return bool(bound.seen("POST", "/token", "refresh_token"))

    wait_until(refresh, "refreshed with a proof", 30)
    assert set(bound.seen("POST", "/token", "refresh_token")) == {200}


def test_sign_out_at_the_provider_ends_the_session_also_with_a_new_signing_key(
    plain: OpenIDProvider, gateway: LocalStack
) -> None:
    for name in ("grace", "joan"):
        person = Person(gateway.url, name)
        person.sign_in(plain)
        bystander = Person(gateway.url, f"not-{name}")
        bystander.sign_in(plain)
        person.sign_out_at(plain)
        wait_until(lambda who=person: not who.is_signed_in, f"{name} is signed out here", 10)  # type: ignore[misc]
        assert bystander.is_signed_in
        plain.rotate_keys()


def test_sign_in_by_a_new_key(plain: OpenIDProvider, ada: Person) -> None:
    plain.rotate_keys()
    ada.sign_in(plain)
    assert ada.is_signed_in


def test_slow_token_endpoint_delays_nobody_else(
    plain: OpenIDProvider, ada: Person, gateway: LocalStack
) -> None:
    plain.respond_later("/token", 4)
    try:
        signing_in = Thread(target=ada.sign_in, args=(plain,))
        signing_in.start()
        longest, other = 0.0, Person(gateway.url, "other")
        while signing_in.is_alive():
            began = time.monotonic()
            assert other.get("/").status_code == 200
            longest = max(longest, time.monotonic() - began)
        signing_in.join()
    finally:
        plain.respond_later("/token", 0)
    assert ada.is_signed_in
    assert longest < 3


def test_token_endpoint_that_is_too_slow_is_a_page_that_says_so(
    plain: OpenIDProvider, ada: Person
) -> None:
    plain.respond_later("/token", 12)
    try:
        page = ada.sign_in(plain)
    finally:
        plain.respond_later("/token", 0)
    assert page.status_code == 503
    assert "timeout (request " in page.text
    assert int(page.headers["Retry-After"]) > 0
    ada.sign_in(plain)
    assert ada.is_signed_in


@pytest.mark.parametrize("kind", ["plain", "pushed", "bound"])
def test_doctor_finds_nothing_wrong_but_plain_http(kind: str, gateway: LocalStack) -> None:
    done = gateway.manage("check_providers", kind, "--url", gateway.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "WARN" in line] == [
        "  WARN TLS"
    ]


def test_doctor_finds_faults(plain: OpenIDProvider, gateway: LocalStack) -> None:
    assert gateway.manage("check_providers", "plain", "--strict").returncode == 4
    assert gateway.manage("check_providers", "plane").returncode == 2
    done = gateway.manage("check_providers", "plain", "--url", "https://elsewhere.example")
    assert done.returncode == 1
    assert "FAIL redirect URI" in done.stdout


def test_sign_out_leaves_the_provider_too_in_a_browser(
    plain: OpenIDProvider, gateway: LocalStack, page: Page
) -> None:
    sign_in(page, gateway, "Plain")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_role("status")).to_contain_text("signed out here, and at Plain too")
    assert page.url == f"{gateway.url}/"
    page.get_by_role("button", name="Sign in with Plain").click()
    expect(page.get_by_placeholder("Enter any login")).to_be_visible()
    log = (gateway.state / "log/gateway.log").read_text()
    assert "id_token_hint" not in log
    assert not JWT.search(log)


def test_provider_that_answers_no_post_is_left_by_get_alone(
    providers: dict[str, OpenIDProvider], gateway: LocalStack, page: Page
) -> None:
    """Why POST is not the default: its cookies are `SameSite=Lax`, and it answers 404."""
    sign_in(page, gateway, "Posted")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Not Found")).to_be_visible()
    page.goto(gateway.url)
    assert "at Posted too" not in page.content()
    page.get_by_role("button", name="Sign in with Posted").click()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    assert page.get_by_placeholder("Enter any login").count() == 0  # nobody was signed out there


def sign_in(page: Page, gateway: LocalStack, provider: str) -> None:
    page.goto(gateway.url)
    page.get_by_role("button", name=f"Sign in with {provider}").click()
    page.get_by_placeholder("Enter any login").fill("ada")
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
