"""An MCP server on the test's own internet."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.oauth.support.hostile import Internet
from tests.oauth.support.hostile_fixtures import internet
from tests.oauth.support.mcp_internet import World, mcp_internet
from tests.sessions_kms.support.stacks import Stack

__all__ = ["internet"]


@pytest.fixture
def world(
    store: Stack,
    settings: Settings,
    internet: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    with mcp_internet(internet, settings, tmp_path, monkeypatch) as world:
        yield world
