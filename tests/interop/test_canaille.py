"""The gateway as a client of canaille: sign-in, refresh, and sign-out at the provider."""

from collections.abc import Iterator

import pytest
import requests

from tests.e2e.stack import LocalStack
from tests.interop.canaille_provider import PASSWORD, CanailleProvider
from tests.interop.conftest import skip_if_left_out
from tests.interop.person import TIMEOUT, Person
from tests.local.form import Form, submit


@pytest.fixture(scope="module")
def canaille(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[tuple[CanailleProvider, str]]:
    """Run it and a gateway; yield the gateway's URL as well."""
    skip_if_left_out(pytestconfig, "canaille")
    folder = tmp_path_factory.mktemp("canaille")
    stack = LocalStack(folder / "state")
    provider = CanailleProvider(stack.url)
    stack.variables |= provider.variables
    with provider.running(folder / "canaille.log"), stack.running():
        yield provider, stack.url


@pytest.fixture
def ada(canaille: tuple[CanailleProvider, str]) -> Person:
    provider, gateway = canaille
    person = Person(gateway)
    page = submit(
        person.client, person.get("/accounts/oidc/canaille/login/"), follow=True, timeout=TIMEOUT
    )
    while page.url.startswith(provider.issuer):
        page = submit_page(person, page)
    assert page.url == f"{gateway}/", page.text
    return person


def submit_page(person: Person, page: requests.Response) -> requests.Response:
    """Fill in the form on any of the provider's pages."""
    known = {"login": "ada", "user_name": "ada", "password": PASSWORD}
    asked = Form(page.text).fields
    typed = {name: value for name, value in known.items() if name in asked}
    if not typed:
        typed = {"answer": "accept"}
    return submit(person.client, page, follow=True, timeout=TIMEOUT, **typed)


def test_sign_in_yields_a_token_that_the_provider_accepts(ada: Person) -> None:
    assert ada.is_signed_in
    response = ada.get(
        "/gateway/canaille/oauth/userinfo", headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert (response.status_code, response.json().get("sub")) == (200, "ada"), response.text


def test_sign_out_leaves_the_provider_too(
    ada: Person, canaille: tuple[CanailleProvider, str]
) -> None:
    provider, gateway = canaille
    page = ada.sign_out()
    if page.url.startswith(provider.issuer):  # It asks for confirmation.
        page = submit(ada.client, page, follow=True, timeout=TIMEOUT, response="logout")
    assert page.url == f"{gateway}/"
    assert "You are signed out here, and at Canaille too." in page.text
    again = submit(
        ada.client, ada.get("/accounts/oidc/canaille/login/"), follow=True, timeout=TIMEOUT
    )
    assert again.url.startswith(provider.issuer), "it asks who it is"
