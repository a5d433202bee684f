"""A person who is signed in with `corp`, and an MCP server that they can connect."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.oauth.support.connecting import Connecting, declare
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.mcp_server import McpResource, serving_mcp


@pytest.fixture
def resource(signed_in: Visitor, settings: Settings) -> Iterator[McpResource]:
    """Serve an MCP server with its authorization server, declared as `notes`."""
    with serving_mcp() as served:
        declare(settings, notes=served.url)
        yield served


@pytest.fixture
def notes(signed_in: Visitor, resource: McpResource) -> Connecting:
    return Connecting(signed_in, resource)


@pytest.fixture
def files(notes: Connecting, settings: Settings) -> Iterator[Connecting]:
    """Declare a second server."""
    with serving_mcp() as served:
        declare(settings, notes=notes.resource.url, files=served.url)
        yield Connecting(notes.visitor, served, "files")
