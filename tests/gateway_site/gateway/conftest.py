"""One gateway for all tests of a worker: they leave nothing behind in it."""

from collections.abc import Iterator

import pytest

from tests.gateway_site.support.gateways import Gateway, running_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running
