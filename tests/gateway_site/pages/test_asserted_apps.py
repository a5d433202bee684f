"""Apps that a provider vouches for: one entry for each client and upstream, and no announcement."""

from dataclasses import replace

import pytest
from pytest_django import Settings

from oauth.clients.id_jag.rate import reset_rate
from sessions_kms import KMSUnavailable, about, id_of
from sessions_kms.concurrency import deadline
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.clients.support.app import ISSUER
from tests.oauth.clients.support.asserted import open_session
from tests.oauth.clients.support.asserting import PUBLIC_ID, AssertingClient, make_server
from tests.oauth.support import fake_provider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.memory_dynamodb import after
from tests.sessions_kms.support.sessions import saved_id
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock

FILES = f"{ISSUER}/gateway/files"


@pytest.fixture
def ada(store: Stack, settings: Settings) -> Visitor:
    settings.AUTHORIZATION_SERVER = make_server()
    reset_rate()
    return Visitor()


def cards(visitor: Visitor) -> list[Element]:
    page = assert_accessible(visitor.client.get("/apps/").content.decode())
    return [each for each in page.all("li") if "card" in (each.attributes.get("class") or "")]


def allow_app(ada: Visitor, store: Stack, settings: Settings) -> str:
    """Give an app of somebody at a provider that asserts apps a token, ten seconds ago."""
    with fake_provider.serving(IdJagProvider) as corp:
        corp.clock = store.clock
        configure(settings, environment("corp", corp, ID_JAG_CLIENTS="1"))
        ada.sign_in(corp)
        token = AssertingClient(corp).get_token()
    store.clock.advance(10)
    return token


def test_apps_end_with_everything_else_however_many_sessions_are_newer(
    ada: Visitor, store: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request ends only as many sessions as there is time for, the newest first."""
    token = allow_app(ada, store, settings)
    for _ in range(40):
        saved_id(ada.user_id)
    passing = FakeClock()
    monkeypatch.setattr(deadline, "monotonic", passing)
    for call in ("GetItem session", "DeleteItem session", "DeleteItem about"):
        store.dynamodb.on(call, after(lambda: passing.advance(0.05)))
    ada.client.post("/sessions/end-others/", shown_fields(ada.user_id, ago=10))
    assert open_session(token) is None
    assert len([each for each in store.dynamodb.items if "#" not in each]) > 1


def test_sessions_and_apps_end_while_labels_cannot_be_decrypted(
    ada: Visitor, store: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without KMS nobody can tell which of a person's sessions are apps, but all can be ended."""
    token = allow_app(ada, store, settings)
    saved_id(ada.user_id)

    async def fail(*_: object) -> bytes:
        raise KMSUnavailable

    monkeypatch.setattr(about.SessionMetadata, "_open", fail)
    ada.client.post("/sessions/end-others/", shown_fields(ada.user_id, ago=10))
    assert open_session(token) is None
    assert list(store.sessions()) == [id_of(ada.session.session_key or "")]


def test_one_entry_for_each_client_and_upstream_ends_all_its_grants(
    ada: Visitor, store: Stack, settings: Settings
) -> None:
    with fake_provider.serving(IdJagProvider) as corp:
        corp.clock = store.clock
        configure(settings, environment("corp", corp, ID_JAG_CLIENTS="1"))
        ada.sign_in(corp)
        claude = AssertingClient(corp, PUBLIC_ID, {})
        first = claude.get_token()
        store.clock.advance(120)
        renamed = dict(make_server().listed)
        renamed[PUBLIC_ID] = replace(renamed[PUBLIC_ID], name="Claude 2")
        settings.AUTHORIZATION_SERVER = make_server(listed=renamed)
        second, files = claude.get_token(), claude.get_token(resource=FILES)
        tool = AssertingClient(corp).get_token()
        home = ada.client.get("/").content.decode()
        assert "in your name" not in home
        texts = [" ".join(each.text.split()) for each in cards(ada)]
        assert len(texts) == 3
        assert all("Allowed by Your organization, at Corp" in text for text in texts)
        assert all("back by itself, if Corp vouches for it again" in text for text in texts)
        assert not any("Sent you back to" in text for text in texts)
        [card] = [each for each in cards(ada) if "Claude" in each.text and "tools" in each.text]
        [field] = [each for each in card.all("input") if each.attributes["name"] == "app"]
        fields = {"app": field.attributes["value"]} | shown_fields(ada.user_id)
        response = ada.client.post("/apps/end/", fields, follow=True)
        assert "The app has been disconnected." in response.content.decode()
        assert open_session(first) is open_session(second) is None
        assert open_session(files, "files") is not None
        assert open_session(tool) is not None
        ada.client.post("/apps/end-all/", shown_fields(ada.user_id, ago=10))
        assert open_session(files, "files") is open_session(tool) is None
        assert cards(ada) == []
        assert claude.ask().status_code == 200
