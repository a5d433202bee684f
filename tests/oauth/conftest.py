"""The fixtures of these tests, and a process that remembers nothing of the test before."""

from collections.abc import Iterator

import pytest

from oauth import endpoints, jwks
from oauth.renewal import _resting
from tests.oauth.fixtures import corp, database_file, github, other, signed_in, store, visitor
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
    "visitor",
]


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    yield
    endpoints.forget()
    jwks.forget()
    _resting.clear()
