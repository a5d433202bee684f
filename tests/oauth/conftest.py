"""The fixtures of these tests, and a process that remembers nothing of the test before."""

from collections.abc import Iterator

import pytest

from oauth import dpop, endpoints, jwks
from oauth.renewal import _resting
from tests.oauth.fixtures import (
    corp,
    database_file,
    github,
    other,
    signed_in,
    store,
    strict,
    visitor,
)
from tests.oauth.logout_fixtures import idp, second

__all__ = [
    "corp",
    "database_file",
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
    endpoints.forget()
    jwks.forget()
    dpop.nonces.clear()
    _resting.clear()
