"""Signing out for good: at the provider, by the provider, on every machine, on real processes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.e2e.back_door import BackDoor, session_key_of
from tests.e2e.signing_in import arrive, page_without_javascript, sign_in_by_requests
from tests.e2e.stack import LocalStack
from tests.oauth.support import fake_provider
from tests.oauth.support.fixtures import environment
from tests.oauth.support.logout_provider import ABSENT, LogoutProvider
from tests.support.processes import free_ports, running
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.long]

PATH = "/oauth/backchannel-logout/corp"


def tokens_of(page: Page, stack: LocalStack) -> dict[str, Any]:
    content = BackDoor(stack.environment()).content(session_key_of(page, stack))
    held: dict[str, Any] = content["oauth:local"]
    return held


def response_to_refresh(stack: LocalStack, refresh_token: str) -> requests.Response:
    variables = stack.environment()
    return requests.post(
        f"http://127.0.0.1:{stack.provider}/identity/o/api/token",
        {"grant_type": "refresh_token", "refresh_token": refresh_token},
        auth=(variables["OAUTH_LOCAL_CLIENT_ID"], variables["OAUTH_LOCAL_CLIENT_SECRET"]),
        timeout=10,
    )


def test_sign_out_also_signs_out_at_the_provider(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("and at Local provider too")
    assert page.url == f"{stack.url}/"
    page.get_by_role("button", name="Sign in with Local provider").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_sign_out_kills_the_refresh_token_at_the_provider(
    stack: LocalStack, browser: Browser
) -> None:
    end_others(stack)  # The grant is kept while the person has another session.
    # Without scripts the browser stays at the gateway, so that only the revocation can do it.
    with page_without_javascript(browser) as page:
        arrive(page, stack)
        token = tokens_of(page, stack)["refresh_token"]
        before = revoked_grants(stack)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Signed out here")).to_be_visible()
        # A refresh would spend the token, revoked or not, so it waits for what the log says.
        wait_until(lambda: revoked_grants(stack) > before, "the grant is revoked", 10)
        response = response_to_refresh(stack, token)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
        page.get_by_role("link", name="Sign out of Local provider").click()
        expect(page.get_by_role("status")).to_contain_text("and at Local provider too")


def end_others(stack: LocalStack) -> None:
    sign_in_by_requests(stack).close()  # so that the account exists
    done = stack.manage("end_sessions", "--account", "local", "1", "--no-input")
    assert done.returncode == 0, done.stderr


def revoked_grants(stack: LocalStack) -> int:
    return (stack.state / "log/gateway.log").read_text().count("A grant of local was revoked.")


def test_refresh_token_is_alive_before_the_sign_out(stack: LocalStack, page: Page) -> None:
    arrive(page, stack)
    token = tokens_of(page, stack)["refresh_token"]
    assert response_to_refresh(stack, token).status_code == 200


@contextmanager
def second_gateway(stack: LocalStack, folder: Path, providers: dict[str, str]) -> Iterator[str]:
    """Run another gateway process on the same table, as another machine would."""
    (port,) = free_ports(1)
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    variables = {"PATH": os.environ["PATH"]} | stack.environment() | providers
    with running(command, variables, folder / "second.log", port):
        yield f"http://127.0.0.1:{port}"


def sign_in_with(at: str, idp: LogoutProvider) -> requests.Session:
    browser = requests.Session()
    page = browser.get(f"{at}/accounts/oidc/corp/login/", timeout=10)
    token = browser.cookies["gateway_csrftoken"]
    started = browser.post(
        page.url, {"csrfmiddlewaretoken": token}, allow_redirects=False, timeout=10
    )
    back = idp.consent(started.headers["Location"])
    assert browser.get(back, timeout=10).status_code == 200
    assert is_signed_in(browser, at)
    return browser


def is_signed_in(browser: requests.Session, at: str) -> bool:
    return "Sign out" in browser.get(f"{at}/", timeout=10).text


def test_session_made_at_one_gateway_is_ended_through_another(tmp_path: Path) -> None:
    with fake_provider.serving(LogoutProvider) as idp:
        variables = environment("corp", idp)
        stack = LocalStack(tmp_path / "state", **variables)
        with stack.running(), second_gateway(stack, tmp_path, variables) as second:
            browser = sign_in_with(stack.url, idp)
            assert is_signed_in(browser, second)
            idp.session_id = "another-session"
            elsewhere = sign_in_with(second, idp)
            idp.session_id = "the-session-at-the-provider"

            response = requests.post(
                second + PATH, {"logout_token": idp.logout_token()}, timeout=20
            )

            assert (response.status_code, response.content) == (200, b"")
            assert not is_signed_in(browser, stack.url)
            assert not is_signed_in(browser, second)
            assert is_signed_in(elsewhere, stack.url)
            token = idp.logout_token(sid=ABSENT)
            responses = [
                requests.post(at + PATH, {"logout_token": token}, timeout=20).status_code
                for at in (stack.url, second)
            ]
            assert responses == [200, 400]  # used once is used everywhere
            assert not is_signed_in(elsewhere, second)
