"""Trial calls through the gateway; their responses are shown without tokens."""

import json
import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from gateway_site.pages import upstreams as pages_upstreams
from gateway_site.pages.upstreams import SIZE_MAX
from gateway_site.transport import upstream_client as client
from oauth.tokens import vault as held_tokens
from oauth.tokens.fresh_token import REJECTED_AGE
from tests.gateway_site.support.declared_upstreams import read_people
from tests.gateway_site.support.home_page import status_message
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import stored_tokens
from tests.sessions_kms.support.stacks import Stack

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

JSON = "application/json"
WHAT_ADDRESSES_ARE_FOR = "You can call the services below with your account."


@dataclass
class Trial:
    """Calls of the upstream `people`, the provider's userinfo, from its page."""

    upstream: FakeProvider
    visitor: Visitor

    def request(self, **headers: str) -> Any:
        """Ask as a browser does: Django's test client sends no Host by itself."""
        headers = {"Host": "testserver", **headers}
        return self.visitor.client.get("/try/people/", headers=headers)

    def page(self, **headers: str) -> Element:
        response = self.request(**headers)
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        return assert_accessible(response.content.decode())

    def respond_with(self, body: bytes, kind: str = JSON, status: int = 200) -> None:
        self.upstream.failing["/userinfo"] = lambda: (status, kind, body)


@pytest.fixture
def upstream(corp: FakeProvider, settings: Settings) -> FakeProvider:
    settings.UPSTREAMS = read_people(corp, PATHS="/userinfo,/other")
    return corp


@pytest.fixture
def trial(upstream: FakeProvider, signed_in: Visitor) -> Trial:
    return Trial(upstream, signed_in)


@pytest.fixture
def expired(upstream: FakeProvider, visitor: Visitor) -> Trial:
    """The visitor's token is no longer valid."""
    upstream.expires_in = 0
    visitor.sign_in(upstream)
    return Trial(upstream, visitor)


def shown_response(page: Element) -> str:
    (response,) = page.all("pre")
    return response.text


def test_call_in_a_loop_of_its_own_leaves_no_connection_behind(trial: Trial) -> None:
    """Django's test client has no event loop that lasts."""
    before = set(client._pools)
    assert trial.request().status_code == 200
    assert set(client._pools) <= before


def test_card_offers_a_trial_call(trial: Trial) -> None:
    assert 'href="/try/people/"' in trial.visitor.client.get("/").content.decode()


def test_response_of_the_upstream_is_shown(trial: Trial) -> None:
    page = trial.page()
    assert status_message(page) == "200 OK , from " + trial.upstream.issuer
    assert json.loads(shown_response(page)) == trial.upstream.person
    assert "GET /gateway/people/userinfo" in page.text


@pytest.mark.parametrize(("levels", "is_indented"), [(20, True), (21, False)])
def test_deep_json_is_shown_as_it_is(trial: Trial, levels: int, is_indented: bool) -> None:
    """Indented, 64 KB of it would be 59 MB of page."""
    body = "[" * levels + "0" + "]" * levels
    trial.respond_with(body.encode())
    assert (shown_response(trial.page()) != body) is is_indented


def test_markup_of_the_upstream_is_text(trial: Trial) -> None:
    trial.respond_with(b"<script>alert(1)</script>", "text/html")
    content = trial.request().content.decode()
    assert "<script>" not in content
    assert "&lt;script&gt;" in content


def test_token_that_the_upstream_repeats_is_not_shown(trial: Trial) -> None:
    held = stored_tokens(trial.visitor)
    body = f'{{"Authorization": "Bearer {held.access_token}"}}'.encode()
    trial.respond_with(body)
    content = trial.request().content.decode()
    assert held.access_token not in content
    assert "[a token, not shown]" in content


def test_token_that_another_request_replaces_meanwhile_is_not_shown(trial: Trial) -> None:
    held = stored_tokens(trial.visitor)

    def refreshed_elsewhere() -> None:
        stored = trial.visitor.session
        held_tokens.store_token_set(stored, "corp", replace(held, access_token="its-successor"))
        stored.save()

    trial.upstream.hooks["/userinfo"] = refreshed_elsewhere
    trial.respond_with(f"{held.access_token} its-successor".encode())
    assert shown_response(trial.page()) == "[a token, not shown] [a token, not shown]"


def test_expired_token_is_renewed_by_the_call_and_the_cookie_with_it(expired: Trial) -> None:
    expired.upstream.expires_in = 3600
    response = expired.request()
    assert status_message(assert_accessible(response.content.decode())).startswith("200 OK")
    assert len(expired.upstream.refreshes) == 1
    assert (
        response.cookies[settings.SESSION_COOKIE_NAME].value == expired.visitor.session.session_key
    )


def test_page_without_a_refresh_sets_no_session_cookie(trial: Trial) -> None:
    assert settings.SESSION_COOKIE_NAME not in trial.request().cookies


def test_token_that_the_upstream_refuses_is_refreshed_once_and_the_call_made_again(
    trial: Trial, store: Stack
) -> None:
    store.clock.advance(REJECTED_AGE)  # a token fresh from the provider is not to blame
    trial.upstream.people_of_tokens.clear()
    assert status_message(trial.page()).startswith("200 OK")
    assert len(trial.upstream.refreshes) == 1


def test_problem_document_of_the_upstream_is_not_taken_for_the_gateways(trial: Trial) -> None:
    said = {"detail": "Call us at once", "sign_in_url": "/sessions/end-others/"}
    trial.respond_with(json.dumps(said).encode(), "application/problem+json", 400)
    page = trial.page()
    assert status_message(page).startswith("400 Bad Request , from http")
    assert page.all("main")[0].all("form") == []


def test_token_that_must_be_renewed_by_the_person_offers_that(expired: Trial) -> None:
    expired.upstream.refresh_tokens.clear()

    page = expired.page()

    assert status_message(page) == "401 Unauthorized , from the gateway"
    assert "The provider requires a new sign-in." in page.text
    (form,) = page.all("main")[0].all("form")
    assert form.attributes["action"] == "/accounts/oidc/corp/login/?process=connect"
    assert [button.text for button in form.all("button")] == ["Re-authenticate with Corp"]
    ways = {field.attributes["name"]: field.attributes["value"] for field in form.all("input")}
    assert ways["next"] == "/try/people/"


def test_unreachable_upstream_is_explained(trial: Trial, settings: Settings) -> None:
    settings.UPSTREAMS = read_people(trial.upstream, URL="http://127.0.0.1:9", PATHS="/userinfo")
    page = trial.page()
    assert status_message(page).endswith("from the gateway")
    assert status_message(page).startswith("502")


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"", JSON, "The response is empty."),
        (b"\x89PNG\0\0", "image/png", "The response is not text, so it is not shown."),
        (b"{not json", JSON, "{not json"),
        (b"[" * 30_000, JSON, "[[["),
        ("naïve".encode("latin-1"), "text/plain", "na\N{REPLACEMENT CHARACTER}ve"),
        (b'{"a": [1]}', "application/vnd.x+json; charset=utf-8", '"a": [ 1 ]'),
    ],
)
def test_whatever_is_answered_makes_a_page(
    trial: Trial, body: bytes, kind: str, expected: str
) -> None:
    trial.respond_with(body, kind)
    assert expected in trial.page().text


def test_long_response_is_shown_from_its_beginning(trial: Trial) -> None:
    trial.respond_with(b"x" * 1_000_000, "text/plain")
    page = trial.page()
    assert "The beginning of the response" in page.text
    assert shown_response(page) == "x" * SIZE_MAX


def test_slow_upstream_is_left_after_a_while(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_upstreams, "TIMEOUT", 0)
    seen = threading.Event()
    trial.upstream.hooks["/userinfo"] = lambda: wait_for(seen)
    try:
        page = trial.page()
    finally:
        seen.set()
    assert status_message(page) == "No response within ten seconds"
    assert not page.all("pre")


def wait_for(event: threading.Event) -> None:
    assert event.wait(20)


def test_error_of_the_upstream_is_its_own(trial: Trial) -> None:
    trial.respond_with(b"no", "text/plain", 418)
    assert status_message(trial.page()).startswith("418 ")
    trial.respond_with(b"no", "text/plain", 599)
    assert status_message(trial.page()).startswith("599 ,")


def test_request_of_another_site_is_refused_by_the_gateway(trial: Trial) -> None:
    page = trial.page(**{"Sec-Fetch-Site": "cross-site"})
    assert status_message(page) == "403 Forbidden , from the gateway"


@pytest.mark.parametrize("name", ["nothing", "people/userinfo", "PEOPLE", "..", "%2e%2e"])
def test_nothing_but_declared_upstreams_can_be_tried(trial: Trial, name: str) -> None:
    assert trial.visitor.client.get(f"/try/{name}/").status_code == 404


def test_upstream_without_get_is_not_offered(
    upstream: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    settings.UPSTREAMS = read_people(upstream, METHODS="POST")
    visitor.sign_in(upstream)
    page = visitor.client.get("/").content.decode()
    assert "/try/people/" not in page
    assert WHAT_ADDRESSES_ARE_FOR not in page
    assert visitor.client.get("/try/people/").status_code == 404


def test_home_page_explains_the_addresses(trial: Trial) -> None:
    assert WHAT_ADDRESSES_ARE_FOR in trial.visitor.client.get("/").content.decode()


def test_stranger_is_sent_to_sign_in(upstream: FakeProvider) -> None:
    response = Client().get("/try/people/")
    assert response["Location"] == "/accounts/login/?next=/try/people/"


def test_only_get_is_answered(trial: Trial) -> None:
    assert trial.visitor.client.post("/try/people/").status_code == 405
