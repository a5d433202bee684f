"""The fixtures of these tests, and a process that remembers nothing of the test before."""

from collections.abc import Iterator

import pytest

from oauth.mcp import client_documents, registrations, resource_metadata
from oauth.provider import dpop, jwks, metadata
from oauth.tokens import refresh_coordinator
from tests.oauth.support.fixtures import (
    connected,
    corp,
    database_file,
    expired,
    github,
    other,
    signed_in,
    store,
    strict,
    visitor,
)
from tests.oauth.support.logout_fixtures import at_both, at_idp, idp, second

__all__ = [
    "at_both",
    "at_idp",
    "connected",
    "corp",
    "database_file",
    "expired",
    "github",
    "idp",
    "other",
    "second",
    "signed_in",
    "store",
    "strict",
    "visitor",
]


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    yield
    metadata.clear_metadata_cache()
    resource_metadata._cache.clear()
    jwks._key_sets.clear()
    dpop.nonces._by_origin.clear()
    registrations.confirmed.clear()
    client_documents.known.clear()
    refresh_coordinator._back_off._until.clear()
