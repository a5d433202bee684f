"""Lists of sessions make few calls to AWS, for any number and size of sessions."""

import re
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from sessions_kms.aws import clients
from sessions_kms.backend import SessionStore
from sessions_kms.operations.listing import OWNED_ROWS
from sessions_kms.services import id_of
from tests.oauth.clients.support.app import SERVER
from tests.oauth.support.counted_store import Calls, calls, client_name, store
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.stacks import Stack

__all__ = ["calls", "client_name", "store"]

MANY = 30
READS = ("GetItem", "Query", "Scan")
ADMIN = "/admin/sessions_kms/session/"


@pytest.fixture
def responses(calls: Calls) -> list[Any]:
    """Give the responses that carry items, as they come from now on."""
    found: list[Any] = []

    def note(parsed: dict[str, Any], **_: Any) -> None:
        found.extend(parsed.get("Items", []))
        found.extend(filter(None, [parsed.get("Item")]))

    for operation in READS:
        clients._session().get_component("event_emitter").register(
            f"after-call.dynamodb.{operation}", note
        )
    return found


@pytest.fixture
def ada(
    responses: list[Any], calls: Calls, store: Stack, corp: FakeProvider, visitor: Visitor
) -> Visitor:
    """Give somebody who may see the admin, and has many sessions, the present one the oldest."""
    visitor.sign_in(corp)
    store.clock.advance(1)
    get_user_model().objects.update(is_staff=True, is_superuser=True)
    for _ in range(MANY):
        session = SessionStore()
        session.update({USER_ID: visitor.user_id, "kept": "x" * 1000})
        session.save()
    visitor.client.get("/")  # It shows what the sign-in has to say.
    calls.clear()
    responses.clear()
    return visitor


def carry_ciphertext(responses: list[Any]) -> set[str]:
    return {item["id"]["S"] for item in responses if "encryptedData" in item}


def visit_list(visitor: Visitor) -> str:
    """Return the id of what lists show of the own session; the others tell nothing."""
    return f"about#django#{own_id(visitor)}"


def own_id(visitor: Visitor) -> str:
    return id_of(str(visitor.client.cookies["gateway_sessionid"].value))


@pytest.mark.slow
def test_home_page_reads_the_index_once_for_news_of_apps(
    ada: Visitor, calls: Calls, responses: list[Any], settings: Settings
) -> None:
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    ada.client.get("/")  # All sessions are new to it, and looked at a few at a time.
    calls.clear()
    responses.clear()
    assert ada.client.get("/").status_code == 200
    assert calls["Query"] == 1
    assert carry_ciphertext(responses) == {own_id(ada)}


@pytest.mark.slow
def test_pages_read_no_ciphertext_but_their_own_sessions(
    ada: Visitor, calls: Calls, responses: list[Any], subtests: pytest.Subtests
) -> None:
    """In one test: to store the sessions takes longer than all the pages."""

    def page(address: str) -> str:
        calls.clear()
        responses.clear()
        response = ada.client.get(address)
        assert response.status_code == 200
        shown: str = response.content.decode()
        return shown

    with subtests.test("home"):
        page("/")
        assert calls == {"GetItem": 1}
        assert carry_ciphertext(responses) == {own_id(ada)}
    with subtests.test("a page of the list"):
        shown = OWNED_ROWS + 1  # The current one is the oldest, but comes first.
        assert page("/sessions/").count('<li class="card') == shown
        assert calls == {"GetItem": 1 + 2 * shown, "Query": 1}
        assert carry_ciphertext(responses) == {own_id(ada), visit_list(ada)}
    with subtests.test("all pages of the list"):
        address, seen, read = "/sessions/", set[str](), set[str]()
        while address:
            text = page(address)
            seen |= set(re.findall(r"<code>(.{8})</code>", text))
            older = re.search(r'href="([^"]+)" rel="next"', text)
            address = f"/sessions/{older[1]}" if older else ""
            read |= carry_ciphertext(responses)
        assert len(seen) == 1 + MANY
        assert read == {own_id(ada), visit_list(ada)}
    for query in ("", "?q=ada", f"?user={ada.user_id}"):
        with subtests.test("the admin's list", query=query):
            assert page(ADMIN + query).count("action-select") >= OWNED_ROWS
            assert carry_ciphertext(responses) == {own_id(ada)}
    with subtests.test("the admin's page of one session shows its size"):
        text = page(f"{ADMIN}{quote(own_id(ada))}/change/")
        assert re.search(r"\d(\.\d)?\xa0KB", text)


@pytest.mark.slow
def test_ending_other_sessions_reads_no_ciphertext(
    ada: Visitor, calls: Calls, responses: list[Any]
) -> None:
    ada.client.post("/sessions/end-others/", shown_fields(User.objects.get().pk))
    assert calls["DeleteItem"] == 2 * MANY
    assert calls["GetItem"] == 1 + MANY
    assert carry_ciphertext(responses) == {own_id(ada)}


@pytest.mark.slow
def test_admin_action_on_many_sessions_reads_no_ciphertext(
    ada: Visitor, calls: Calls, store: Stack, responses: list[Any]
) -> None:
    chosen = list(store.sessions())[:20]
    form = {"action": "delete_selected", "_selected_action": chosen}
    responses.clear()
    ada.client.post(ADMIN, form)
    ada.client.post(ADMIN, {**form, **shown_fields(User.objects.get().pk), "post": "yes"})
    assert calls["DeleteItem"] >= 19
    assert carry_ciphertext(responses) == {own_id(ada)}
