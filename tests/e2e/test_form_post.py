"""A provider of another site posts its response, as Apple does, in a real Chromium.

`localhost` and `127.0.0.1` are two sites to it: with the POST it sends no `Lax` cookie.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.stack import LocalStack
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider, Response
from tests.oauth.support.fixtures import environment
from tests.providers.stubs.apple import page_that_posts
from tests.providers.stubs.stub import query_of

pytestmark = [pytest.mark.browser, pytest.mark.long]

CALLBACK = "/accounts/oidc/corp/login/callback/"


class PostingProvider(FakeProvider):
    """Responses with a page that posts itself, the person's name besides."""

    def authorize(self, query: dict[str, str]) -> Response:
        status, location, body = super().authorize(query)
        if status != 302 or query.get("response_mode") != "form_post":
            return status, location, body
        fields = query_of(location) | {"user": json.dumps({"name": {"firstName": "Mallory"}})}
        return 200, "text/html", page_that_posts(location.partition("?")[0], fields)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with fake_provider.serving(PostingProvider) as provider:
        provider.issuer = provider.issuer.replace("127.0.0.1", "localhost")
        variables = environment("corp", provider, AUTH_PARAMS="response_mode=form_post")
        found = LocalStack(tmp_path / "state", **variables)
        with found.running():
            yield found


def test_response_that_is_posted_from_another_site_signs_in(stack: LocalStack, page: Page) -> None:
    asked = []
    page.on("request", lambda request: asked.append(request) if CALLBACK in request.url else None)

    page.goto(stack.url)
    page.get_by_role("button", name="Corp").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()

    posted, got = asked
    assert (posted.method, got.method) == ("POST", "GET")
    assert "cookie" not in posted.all_headers()
    assert "gateway_sessionid" in got.all_headers()["cookie"]
    assert set(query_of(got.url)) == {"code", "state"}
