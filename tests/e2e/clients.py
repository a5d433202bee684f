"""An OAuth client of the local stack: it registers, and sends its person to the consent page."""

import requests
from playwright.sync_api import Page, expect

from tests.e2e.signing_in import arrive
from tests.e2e.stack import LocalStack
from tests.gateway_site.support.client_tokens import VERIFIER, authorization_url


def register_client(stack: LocalStack, redirect_uri: str, name: str = "Browser test") -> str:
    metadata = {"client_name": name, "redirect_uris": [redirect_uri]}
    response = requests.post(f"{stack.url}/oauth/register", json=metadata, timeout=20)
    assert response.status_code == 201
    client_id: str = response.json()["client_id"]
    return client_id


def consent_address(
    stack: LocalStack, client_id: str, redirect_uri: str, upstream: str = "feed"
) -> str:
    return authorization_url(stack.url, client_id, redirect_uri, upstream=upstream)


def redeem_code(stack: LocalStack, client_id: str, code: str) -> requests.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "code_verifier": VERIFIER,
    }
    return requests.post(f"{stack.url}/oauth/token", form, timeout=20)


def allow_app_and_open_home_page(stack: LocalStack, page: Page) -> None:
    """Allow an app, and stay at the home page, which tells of it."""
    arrive(page, stack)
    page.route("**/callback?**", lambda route: route.fulfill(body="Back in the app"))
    redirect_uri = "http://127.0.0.1:9/callback"
    page.goto(consent_address(stack, register_client(stack, redirect_uri), redirect_uri))
    page.get_by_role("button", name="Allow").click()  # the app
    page.wait_for_url(f"http://127.0.0.1:{stack.provider}/**")
    page.get_by_role("button", name="Allow").click()  # at the provider, for the app
    expect(page.get_by_text("Back in the app")).to_be_visible()
    page.goto(stack.url)
    expect(page.get_by_role("status").first).to_contain_text("was allowed to call")
