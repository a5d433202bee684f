"""A person who is signed in with `corp`, which vouches for its people at the MCP server `notes`."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.oauth.support.asserting import AssertionServer, declare_asserted, serving_asserted
from tests.oauth.support.fixtures import Visitor, serving_corp
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.mcp_server import McpResource
from tests.sessions_kms.support.stacks import Stack


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[IdJagProvider]:
    with serving_corp(IdJagProvider, store, settings) as provider:
        yield provider


@pytest.fixture
def notes(corp: IdJagProvider, signed_in: Visitor, settings: Settings) -> Iterator[McpResource]:
    with serving_asserted(corp) as served:
        declare_asserted(settings, served)
        yield served


@pytest.fixture
def server(notes: McpResource) -> AssertionServer:
    assert isinstance(notes.authorization, AssertionServer)
    return notes.authorization
