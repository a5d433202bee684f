"""A gateway whose provider `corp` vouches for clients."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from oauth.clients import metadata_documents, timed_deletions
from oauth.clients.id_jag.rate import reset_rate
from oauth.clients.server import AuthorizationServer
from tests.oauth.clients.support.asserting import AssertingClient, make_server
from tests.oauth.support import fake_provider
from tests.oauth.support.fixtures import configure, environment
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.sessions_kms.support.stacks import Stack


@pytest.fixture(autouse=True)
def _person() -> None:
    """Have people in the database."""


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    yield
    reset_rate()
    metadata_documents.reset_fetcher()
    timed_deletions._waiting.forget()


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[IdJagProvider]:
    with fake_provider.serving(IdJagProvider) as provider:
        provider.clock = store.clock
        configure(settings, environment("corp", provider, ID_JAG_CLIENTS="1"))
        yield provider


@pytest.fixture
def server(settings: Settings) -> AuthorizationServer:
    settings.AUTHORIZATION_SERVER = make_server()
    return make_server()


@pytest.fixture
def tool(server: AuthorizationServer, corp: IdJagProvider) -> AssertingClient:
    return AssertingClient(corp)
