"""The fixtures of these tests."""

import time
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.gateway_site.support.gateways import Gateway, running_gateway
from tests.gateway_site.support.loading import production
from tests.gateway_site.support.postgresql import PostgreSQL, binaries, running_postgresql
from tests.oauth.support.fake_provider import FakeProvider, serving
from tests.oauth.support.fixtures import (
    connected,
    corp,
    database_file,
    github,
    other,
    signed_in,
    store,
    visitor,
)

__all__ = [
    "connected",
    "corp",
    "database_file",
    "gateway",
    "github",
    "other",
    "signed_in",
    "store",
    "visitor",
]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a cluster for the tests of a module."""
    found = binaries()
    if found is None:
        pytest.skip("NO POSTGRESQL: install it")
    with running_postgresql(found) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def provider() -> Iterator[FakeProvider]:
    """Serve the provider of the gateway's people."""
    with serving(FakeProvider) as found:
        found.client_id = "gateway"
        yield found


@pytest.fixture(scope="session")
def gateway(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run one gateway for all tests of a worker: they leave nothing behind in it."""
    began = time.time()
    provider.clock = lambda: began  # like the gateway's clock, which does not move
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, issuer=provider.issuer) as running:
        yield running


@pytest.fixture(autouse=True)
def _grants_end_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """End what a test allows: of more than fifty grants of a person one ends, maybe another test's.

    Those of fixtures of a module were allowed before.
    """
    if "gateway" not in request.fixturenames:
        yield
        return
    gateway: Gateway = request.getfixturevalue("gateway")
    before = len(gateway.end_grants)
    yield
    while len(gateway.end_grants) > before:
        gateway.end_grants.pop()()


APPLIED = (
    "ALLOWED_HOSTS",
    "CONTENT_SECURITY_POLICY",
    "CSRF_",
    "MESSAGE_",
    "SECURE_",
    "SESSION_COOKIE_",
    "X_FRAME_OPTIONS",
)


@pytest.fixture
def in_production(settings: Settings) -> None:
    for name, value in production().items():
        if name.startswith(APPLIED):
            setattr(settings, name, value)
