"""The fixtures of these tests."""

from collections.abc import Iterator

import pytest

from tests.gateway_site.support.gateways import Gateway, running_gateway
from tests.oauth.support.fixtures import corp, database_file, github, other, store, visitor

__all__ = ["corp", "database_file", "gateway", "github", "other", "store", "visitor"]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run one gateway for all tests of a worker: they leave nothing behind in it."""
    with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running
