"""A gateway that is an authorization server, and a person who is signed in to it."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from oauth.clients import metadata_documents
from oauth.clients.server import AuthorizationServer
from tests.oauth.clients.support.app import SERVER, App, WayBack
from tests.oauth.clients.support.consent import TYPED, allow
from tests.oauth.clients.support.keyed_app import CLIENT_ID, Consented, Site
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor


@pytest.fixture(autouse=True)
def _person() -> None:
    """Have people in the database."""


@pytest.fixture
def server(settings: Settings) -> AuthorizationServer:
    found = AuthorizationServer(**SERVER)
    settings.AUTHORIZATION_SERVER = found
    return found


@pytest.fixture(autouse=True)
def no_documents() -> Iterator[None]:
    metadata_documents.reset_fetcher()
    yield
    metadata_documents.reset_fetcher()


@pytest.fixture
def app(server: AuthorizationServer) -> App:
    return App()


@pytest.fixture
def ada(server: AuthorizationServer, corp: FakeProvider, visitor: Visitor) -> Visitor:
    """Sign somebody in."""
    visitor.sign_in_directly(corp)
    return visitor


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site()
    fetcher = metadata_documents.DocumentFetcher(made.get, made.clock)
    monkeypatch.setattr(metadata_documents, "_fetcher", fetcher)
    return made


@pytest.fixture
def known(ada: Visitor, corp: FakeProvider, app: App, site: Site) -> Consented:
    app.client_id = CLIENT_ID

    def consent() -> str:
        assert ada.client.get(app.address(), headers=TYPED).status_code == 200
        return WayBack.of(allow(ada, app, corp)).response["code"]

    return Consented(app, site, consent)
